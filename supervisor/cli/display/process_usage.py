"""`ProcessUsages`, the CPU and memory that processes use, as the kernel reports it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """Usage of one process, or of a worker and the processes that its tasks have started."""

    cpu: float = 0.0
    """Per cent of one processor since the previous `look`."""
    rss: int = 0
    """Resident bytes."""
    processes: int = 0
    """The number of processes that these figures cover; 0 if the process has ended."""


class ProcessUsages:
    """Measures processes. CPU is the usage since the previous `look`, so the first one gives 0."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def look(self, single: Iterable[int], trees: Iterable[int]) -> dict[int, ProcessUsage]:
        """Usage by pid: of each pid of `single` alone, of each pid of `trees` with its descendants."""
        fresh: dict[int, psutil.Process] = {}
        found = {pid: self._sum([pid], fresh) for pid in single}
        found.update({pid: self._sum([pid, *_descendants(pid)], fresh) for pid in trees})
        self._known = fresh
        return found

    def _sum(self, pids: Iterable[int], fresh: dict[int, psutil.Process]) -> ProcessUsage:
        cpu, rss, processes = 0.0, 0, 0
        for pid in pids:
            with suppress(psutil.Error):
                process = self._known.get(pid) or psutil.Process(pid)
                cpu += process.cpu_percent(None)
                rss += process.memory_info().rss
                processes += 1
                fresh[pid] = process
        return ProcessUsage(cpu, rss, processes)


def _descendants(pid: int) -> list[int]:
    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def pids_of(tree: dict[str, Any]) -> tuple[list[int], list[int]]:
    """Pids in a supervisor's tree: those to measure alone, and those to measure with descendants."""
    alone = [tree["pid"], *([tree["fork_server"]] if tree["fork_server"] else [])]
    return alone, [worker["pid"] for worker in tree["workers"] if worker["pid"]]

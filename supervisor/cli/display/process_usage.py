"""What processes take: CPU and memory, as the kernel tells it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class ProcessUsage:
    """One process, or a worker with all that its tasks have started."""

    cpu: float = 0.0
    """Per cent of one processor since the last look."""
    rss: int = 0
    """Resident bytes."""
    processes: int = 0
    """How many processes these figures are of; 0 if it has ended."""


class ProcessUsages:
    """Figures of CPU are differences, so the first look at a process gives 0: look twice."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def look(self, single: Iterable[int], trees: Iterable[int]) -> dict[int, ProcessUsage]:
        """By pid: each of `single` alone, each of `trees` with its descendants."""
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
    """Of a supervisor's tree: the processes that are looked at alone, and those with their descendants."""
    alone = [tree["pid"], *([tree["fork_server"]] if tree["fork_server"] else [])]
    return alone, [worker["pid"] for worker in tree["workers"] if worker["pid"]]

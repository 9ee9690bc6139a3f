"""Processor time and memory of a supervisor and all processes below it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil

from understudy import Runtime


def family(runtime: Runtime) -> list[int]:
    """Pids of the supervisor and everything below it."""
    supervisor = psutil.Process(runtime.supervisor_pid)
    return [supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of all their threads so far, to the nanosecond: ticks of 10 ms are too coarse here."""
    return sum(
        int((thread / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
        for pid in pids
        for thread in Path(f"/proc/{pid}/task").iterdir()
    )


def memory(pids: Iterable[int]) -> int:
    """Private bytes in memory, without files; a page that several processes share counts once."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                total += int(line.split()[1]) << 10
    return total


def resident(pid: int) -> int:
    """Resident bytes of a process, as `ps` shows them."""
    return psutil.Process(pid).memory_info().rss

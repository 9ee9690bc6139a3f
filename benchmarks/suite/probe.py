"""What the system says of processes: processor time and memory, of the whole tree below a supervisor."""

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


def pss(pids: Iterable[int]) -> int:
    """Bytes in memory; a page that several share counts once for all of them."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids)

"""Finding the processes that a test started and did not stop.

Three marks show that a process is ours. It descends from this process. It carries the session's mark in its
environment, so it is found even if its parent has died and it belongs to init. Or it works inside one of the
test's folders. Other test sessions on the same machine carry other marks.
"""

from __future__ import annotations

import ctypes
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import active_children
from pathlib import Path

import psutil

#: Environment variable that every process started by this session inherits.
MARK = "UNDERSTUDY_TEST_SESSION"
#: See prctl(2).
PR_SET_CHILD_SUBREAPER = 36
#: Seconds that a process gets to end before it counts as left behind.
GRACE = 3.0
#: Python's own helper. It lives as long as the process that first used multiprocessing.
TOLERATED = "from multiprocessing.resource_tracker import main"


def mark_session() -> None:
    """Mark this process's environment, and so every process that it will start.

    An inherited mark is replaced: processes that run tests side by side must not end each other's processes.
    """
    os.environ[MARK] = uuid.uuid4().hex
    _strangers.update(psutil.pids())


def ours(folders: Iterable[Path] = ()) -> set[psutil.Process]:
    """Every living process that this session started, directly or indirectly."""
    active_children()  # reaps the children of multiprocessing that were not joined
    pids = set(psutil.pids())
    _strangers.intersection_update(pids)  # a number that is free may be given to a process of ours
    candidates = pids - _strangers - {os.getpid()}
    parents = {pid: parent for pid in candidates if (parent := _parent(pid)) is not None}
    places = [os.fspath(folder) for folder in folders]
    mark = f"{MARK}={os.environ[MARK]}".encode()
    found = set()
    for pid in parents:
        with suppress(OSError, psutil.NoSuchProcess):  # it has ended, or belongs to another user
            if _is_shared(pid, parents):
                continue
            if (
                _descends(pid, parents)
                or _marked(pid, mark)
                or _inside(os.readlink(f"/proc/{pid}/cwd"), places)
            ):
                found.add(psutil.Process(pid))
            elif pid in _doubtful:
                _strangers.add(pid)
            else:
                _doubtful.add(pid)
    _doubtful.intersection_update(pids)
    return {process for process in found if not _tolerated(process)}


@contextmanager
def shared(pids: Iterable[int]) -> Iterator[None]:
    """Inside, these processes and their descendants belong to several tests: a browser, a runtime.

    Afterwards they are found as any other.
    """
    added = set(pids) - _shared
    _shared.update(added)
    try:
        yield
    finally:
        _shared.difference_update(added)


def left_behind(before: set[psutil.Process], folders: Iterable[Path] = ()) -> list[str]:
    """End the processes started since `before` that still exist after the grace; one line for each process.

    A process is named once: one that is never waited for stays a zombie until this process ends.
    """
    deadline = time.monotonic() + GRACE
    while (rest := ours(folders) - before - _named) and time.monotonic() < deadline:
        time.sleep(0.02)
    _named.update(rest)
    lines = sorted(_describe(process) for process in rest)
    for process in rest:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return lines


def adopt_nobody() -> None:
    """Let orphans go to init again: a test in this process may have made it a subreaper, as a supervisor is one."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


_named: set[psutil.Process] = set()
_shared: set[int] = set()
#: Processes that were there before the session began, and those that two looks have found to be others'. They are
#: not looked at again and again: two looks at a hundred of them for each test would be a tenth of the suite's time.
_strangers: set[int] = set()
#: Those that one look has found to be others': one that is just being made may not have its marks yet.
_doubtful: set[int] = set()


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None  # it has ended
    return int(stat[stat.rindex(b")") + 1 :].split(maxsplit=2)[1])  # the name before it may hold anything


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents:
        pid = parents[pid]
    return pid == os.getpid()


def _is_shared(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid not in _shared:
        pid = parents[pid]
    return pid in _shared


def _marked(pid: int, mark: bytes) -> bool:
    return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def _inside(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place + "/") for place in places)


def _tolerated(process: psutil.Process) -> bool:
    try:
        return any(TOLERATED in part for part in process.cmdline())
    except psutil.ZombieProcess:
        return False  # nobody waited for it: this is a leak too
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return True


def _describe(process: psutil.Process) -> str:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return f"pid {process.pid} ({process.name()}, parent {process.ppid()}): ended, and nobody waited for it"
        title = " ".join(" ".join(process.cmdline()).split())
        marked = os.environ[MARK] == process.environ().get(MARK)
        seconds = time.time() - process.create_time()
        return (
            f"pid {process.pid} (parent {process.ppid()}, we are {os.getpid()}, {seconds:.1f} s old, "
            f"in {process.cwd()}, {'with' if marked else 'without'} our mark): {title:.300}"
        )
    except psutil.Error as error:
        return f"pid {process.pid}: {error}"

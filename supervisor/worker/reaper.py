"""`Reaper`, which waits for the child processes that tasks have left behind, so that none stays as a zombie.

A worker is a subreaper: it inherits the daemons and background processes of the programs that its tasks run. Nobody
waits for those. But a task waits for the children that it has started itself, and must find them. So the reaper takes

1. orphans. The kernel gives them to the main thread, which starts no processes itself while it reads orders;
2. children whose `Popen` was dropped, for which nobody can wait any more;
3. children that were started before the oldest attempt that still runs here;

and never one that a `Popen` or `multiprocessing` still knows. asyncio's subprocesses have a `Popen`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from ..linux.processes import children_by_thread, is_zombie, started_at

#: Seconds between two looks, and at most while somebody keeps a child that has ended.
LOOK: Final = 1.0
LOOK_LATER: Final = 16.0
#: Seconds by which the clocks may differ that tell when a process and when an attempt began.
CLOCKS: Final = 0.05

#: Every `Popen` that is alive; Python keeps no list of them.
_popens: Final[weakref.WeakSet[subprocess.Popen[Any]]] = weakref.WeakSet()


class Reaper:
    """Looks once a second while there are tasks or children."""

    def __init__(self, attempts: Callable[[], list[float]]) -> None:
        """`attempts()`: when each attempt that is here began or will begin, in seconds since the epoch."""
        self._attempts = attempts
        self._work = threading.Event()
        #: Whether no task runs on the main thread.
        self.main_is_free = True

    def start(self) -> None:
        """Begin to look."""
        _track_popens()
        threading.Thread(target=self._run, name="understudy-reaper", daemon=True).start()

    def wake(self) -> None:
        """A task begins that may start processes, or ends that may have; called while it is among the attempts."""
        if not self._work.is_set():
            self._work.set()

    def _run(self) -> None:
        pause = LOOK
        while True:
            self._work.wait()
            time.sleep(pause)
            # Cleared before the look: a task that begins from now on is either seen here or sets it again.
            self._work.clear()
            if self._attempts():
                self._work.set()
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                continue
            self._work.set()  # the end of these children is still to come
            pause = LOOK if ended is None or self.reap() else min(2 * pause, LOOK_LATER)

    def reap(self) -> int:
        """Wait for the children that have ended and that nobody will wait for; how many there were."""
        # By their own method: `subprocess` keeps them until its next process, and must not wait for this pid again.
        dropped = [
            popen for popen in list(getattr(subprocess, "_active", None) or ()) if popen.returncode is None
        ]
        count = sum(popen.poll() is not None for popen in dropped)
        known = {*_known()}
        for thread, pids in children_by_thread(os.getpid()).items():
            for pid in pids:
                if is_zombie(pid) and pid not in known and self._left_behind(thread, pid):
                    with suppress(ChildProcessError):
                        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
                    count += 1
        return count

    def _left_behind(self, thread: int, pid: int) -> bool:
        if thread == os.getpid() and self.main_is_free:
            return True
        try:
            return started_at(pid) < min(self._attempts(), default=time.time()) - CLOCKS
        except OSError:
            return False


def _track_popens() -> None:
    init = subprocess.Popen.__init__
    if not hasattr(init, "__understudy__"):

        def tracked(self: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> None:
            _popens.add(self)
            init(self, *args, **kwargs)

        tracked.__understudy__ = True  # type: ignore[attr-defined]  # so that it is found the next time
        tracked.__wrapped__ = init  # type: ignore[attr-defined]  # for `inspect.signature`
        subprocess.Popen.__init__ = tracked  # type: ignore[method-assign]


def _known() -> Iterator[int]:
    """Pids of the children for which a library will wait."""
    for popen in _living_popens():
        if getattr(popen, "returncode", None) is None:
            yield from _pid(popen)
    process = sys.modules.get("multiprocessing.process")
    for child in list(getattr(process, "_children", ())):
        yield from _pid(getattr(child, "_popen", None))
    # Processes of multiprocessing's own, which it expects to find.
    for module, helper, name in (
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
    ):
        yield from _pid(getattr(sys.modules.get(module), helper, None), name)


def _living_popens() -> list[subprocess.Popen[Any]]:
    while True:
        with suppress(RuntimeError):  # a task has made one meanwhile; a lock might be held during a fork
            return list(_popens)


def _pid(of: object, name: str = "pid") -> Iterator[int]:
    pid = getattr(of, name, None)
    if isinstance(pid, int):
        yield pid

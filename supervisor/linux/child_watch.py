"""The death of children, told at once by the kernel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from .processes import ExitStatus

#: In the place of a pidfd: somebody else has reaped that child.
_GONE = -1
#: The same, of one that could not be had yet.
_LATER = -2
#: Seconds until a pidfd that could not be had is asked for again.
WATCH_AGAIN = 0.1


class ChildWatch:
    """One pidfd for each child in the event loop: no polling, no SIGCHLD handler.

    Guarantee: `on_exit(pid, status)` is called exactly once for every `watch`, later than that call, and the
    child is reaped by then; unless `forget` or `close` came before.
    """

    def __init__(self, on_exit: Callable[[int, ExitStatus], None]) -> None:
        self._on_exit = on_exit
        self._pidfds: dict[int, int] = {}
        self._again: asyncio.TimerHandle | None = None

    @property
    def pids(self) -> set[int]:
        """Those watched now."""
        return set(self._pidfds)

    def watch(self, pid: int) -> None:
        """Needs a running event loop. A child that somebody else reaped is told as of unknown status."""
        if pid in self._pidfds:
            return
        loop = asyncio.get_running_loop()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfds[pid] = _GONE
            loop.call_soon(self._ended, pid)
            return
        except OSError:
            # No descriptor is left, or no memory. Its death can wait: a child that nobody has reaped keeps its pid.
            self._pidfds[pid] = _LATER
            if self._again is None:
                self._again = loop.call_later(WATCH_AGAIN, self._watch_again)
            return
        self._pidfds[pid] = pidfd
        loop.add_reader(pidfd, self._ended, pid)

    def _watch_again(self) -> None:
        self._again = None
        for pid in [pid for pid, pidfd in self._pidfds.items() if pidfd == _LATER]:
            del self._pidfds[pid]
            self.watch(pid)

    def forget(self, pid: int) -> None:
        """Watch it no longer: it is not reaped here."""
        pidfd = self._pidfds.pop(pid, _GONE)
        if pidfd >= 0:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def close(self) -> None:
        """Forget all."""
        for pid in list(self._pidfds):
            self.forget(pid)
        if self._again is not None:
            self._again.cancel()

    def _ended(self, pid: int) -> None:
        if pid in self._pidfds:  # Else forgotten meanwhile.
            pidfd = self._pidfds[pid]
            status = ExitStatus() if pidfd == _GONE else _reap(pidfd)
            self.forget(pid)
            self._on_exit(pid, status)


def _reap(pidfd: int) -> ExitStatus:
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return ExitStatus()
    if result is None:
        return ExitStatus()
    if result.si_code == os.CLD_EXITED:
        return ExitStatus(code=result.si_status)
    return ExitStatus(signal=result.si_status)

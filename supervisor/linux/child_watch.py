"""ChildWatch: the exits of child processes, reported by the kernel through pidfds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from .processes import ExitStatus

#: In place of a pidfd: another part of the program has reaped that child.
_GONE = -1
#: In place of a pidfd that could not be opened yet.
_LATER = -2
#: Seconds until another try to open such a pidfd.
WATCH_AGAIN = 0.1


class ChildWatch:
    """One pidfd for each child in the event loop: no polling, no SIGCHLD handler.

    Guarantee: `on_exit(pid, status)` is called exactly once for every `watch`, after that call has returned and
    the child is reaped. It is not called after `forget` or `close`.
    """

    def __init__(self, on_exit: Callable[[int, ExitStatus], None]) -> None:
        self._on_exit = on_exit
        self._pidfds: dict[int, int] = {}
        self._again: asyncio.TimerHandle | None = None

    @property
    def pids(self) -> set[int]:
        """The pids watched now."""
        return set(self._pidfds)

    def watch(self, pid: int) -> None:
        """Watch a child. Needs a running event loop.

        The status is unknown if another part of the program reaped it.
        """
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
            # No descriptor or memory is left. Try again later: a child that is not reaped keeps its pid.
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
        """Stop watching a child; it is not reaped here."""
        pidfd = self._pidfds.pop(pid, _GONE)
        if pidfd >= 0:
            asyncio.get_running_loop().remove_reader(pidfd)
            os.close(pidfd)

    def close(self) -> None:
        """Stop watching all children."""
        for pid in list(self._pidfds):
            self.forget(pid)
        if self._again is not None:
            self._again.cancel()

    def _ended(self, pid: int) -> None:
        if pid in self._pidfds:  # Otherwise it was forgotten meanwhile.
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

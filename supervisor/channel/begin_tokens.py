"""Begin tokens: they decide in the kernel which process has a task that was handed out ahead.

A worker is handed more tasks than it has slots, because waiting for the supervisor between two short tasks costs more
than the tasks. Each task comes with one token in an eventfd semaphore that both processes hold. The worker takes a
token before it begins the next task, in the order in which they were handed out. The supervisor takes tokens to get the
last tasks back. Each token is taken once, by one side. This holds while the worker's interpreter is stuck in a C call,
and when the worker is stopped or dead.

A token does not name its task; the order does. After a take-back, no token is added until the worker has confirmed that
it has dropped the tasks. Otherwise the worker would take the next token for a task that runs elsewhere.
"""

from __future__ import annotations

import os


class BeginTokens:
    """A counter shared by two processes."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.eventfd(0, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC) if fd is None else fd
        #: What `count` reads; kept open, as it is needed most when there may be no descriptor left.
        self._info = -1

    def add(self, count: int) -> None:
        """Put in so many; before the tasks they stand for are sent."""
        os.eventfd_write(self.fd, count)

    def take(self) -> bool:
        """Take one; False if there is none."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return True

    def drain(self) -> int:
        """Take all that are there; how many."""
        count = 0
        while self.take():
            count += 1
        return count

    def count(self) -> int:
        """How many are there now, left in place."""
        if self._info < 0:
            self._info = os.open(f"/proc/self/fdinfo/{self.fd}", os.O_RDONLY | os.O_CLOEXEC)
        for line in os.pread(self._info, 4096, 0).splitlines():
            if line.startswith(b"eventfd-count:"):
                return int(line.split()[1], 16)
        return 0

    def close(self) -> None:
        """Give up this side."""
        for fd in (self.fd, self._info):
            if fd >= 0:
                os.close(fd)
        self.fd = self._info = -1

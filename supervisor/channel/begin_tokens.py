"""Who may begin a task that was handed out ahead: decided by the kernel, so that nobody has to be asked.

A worker is handed more tasks than it has slots for, since waiting for an answer between two short tasks costs more
than the tasks. Each task handed out comes with a token in an eventfd semaphore that both sides hold. The worker takes
a token before it begins the next task, in the order they were handed out; the supervisor takes tokens to get the last
ones back. Every token is taken once, by one side. That holds even while the worker's interpreter is stuck in a C call
or the worker is stopped or dead, which is when tasks have to be taken back.

A token does not say which task it stands for: the order does. So once tasks were taken back, no token is added until
the worker has confirmed that it has forgotten them, or it would take the next one for a task that runs elsewhere.
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

"""`DescriptorCapture`: everything that is written to the file descriptors 1 and 2 of this process goes to a task's log.

The descriptors belong to the whole process, so the task must be alone in it. Subprocesses inherit them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from ...actors.attempt.helper_threads import start_outside
from ...actors.line_buffer import LineBuffer

#: Bytes read at once: what a pipe holds.
READ_SIZE: Final = 64 * 1024
#: Reads of one pipe for what has been written until now. A subprocess may write for ever.
LAST_READS: Final = 16
#: The lowest number of a descriptor that is none of the standard ones.
_ABOVE: Final = 3


class DescriptorCapture:
    """Captures from the call until `close`. OSError or RuntimeError if the system refuses a pipe or a thread."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        """`log` takes level and text of a line."""
        self._log = log
        self._lines = LineBuffer()
        #: Held from the read of some bytes until their lines are logged, so that they keep their order.
        self._reading = threading.Lock()
        #: Pipe -> level; descriptor -> copy of what it was, -1 if it was closed.
        self._pipes: dict[int, str] = {}
        self._former: dict[int, int] = {}
        self._stop = _above_standard(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        self._thread = threading.Thread(target=self._run, name="understudy-descriptors", daemon=True)
        try:
            self._redirect(1, "stdout")
            self._redirect(2, "stderr")
            start_outside(self._thread)
        except BaseException:
            self._restore()
            self._release()
            raise

    def _redirect(self, fd: int, level: str) -> None:
        _flush_beyond()
        reader, writer = map(_above_standard, os.pipe())
        os.set_blocking(reader, False)
        self._pipes[reader] = level
        try:
            self._former[fd] = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
        except OSError:
            self._former[fd] = -1
        os.dup2(writer, fd)
        os.close(writer)

    def catch_up(self) -> None:
        """Log all lines that have been written until now. Any thread may call it, also after `close`."""
        for fd in list(self._pipes):
            with suppress(BlockingIOError):
                for _ in range(LAST_READS):
                    if not self._read(fd):
                        break

    def close(self) -> None:
        """End the capture, after everything that has been written until now is in the log.

        OSError if the task has closed a descriptor that belongs to the capture.
        """
        # printf of a C library gathers text for a pipe.
        ctypes.CDLL(None).fflush(None)
        self._restore()
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        for level, rest in self._lines.rest():
            self._log(level, rest)
        self._release()

    def _restore(self) -> None:
        for fd, former in self._former.items():
            if former < 0:
                os.close(fd)
            else:
                os.dup2(former, fd)
                os.close(former)
        self._former = {}

    def _release(self) -> None:
        with self._reading:
            for fd in (*self._pipes, self._stop):
                os.close(fd)
            self._pipes = {}

    def _run(self) -> None:
        poll = select.poll()
        for fd in (*self._pipes, self._stop):
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._stop in ready:
                break
            for fd in ready:
                # `catch_up` may have read it meanwhile.
                with suppress(BlockingIOError):
                    if not self._read(fd):
                        poll.unregister(fd)
        self.catch_up()

    def _read(self, fd: int) -> bool:
        """Log what is there; False at its end. BlockingIOError if there is nothing now."""
        with self._reading:
            level = self._pipes.get(fd)
            if level is None:
                return False
            data = os.read(fd, READ_SIZE)
            for line in self._lines.add(level, data):
                self._log(level, line)
            return bool(data)


def _above_standard(fd: int) -> int:
    """The same file by another number, if it has got one of the standard ones, which may be closed."""
    if fd >= _ABOVE:
        return fd
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    os.close(fd)
    return copy


def _flush_beyond() -> None:
    """Text from before the task must not get into its log."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()

"""Wait marks: which tasks of a worker wait, in memory that the supervisor can read after the worker's death.

A worker reports a few milliseconds late that a task waits. A task that wakes and crashes the process can never report
that it woke, and another task would be blamed. So the worker also marks the state in memory that both processes hold,
which costs no system call.
"""

from __future__ import annotations

import itertools
import mmap
import os
from contextlib import suppress
from typing import Final

#: Tasks of one worker that can have a mark; the others are taken for what they last reported.
MARKS: Final = 65_536
#: Bytes of a mark: the task's id, and what it does.
SIZE: Final = 17

_WAITS: Final = 1
_WORKS: Final = 2
_NOBODY: Final = bytes(SIZE)


class WaitMarks:
    """The worker's side may be used by any thread; the other side reads when the worker is dead."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _memory() if fd is None else fd
        self._map: mmap.mmap | None = None if fd is None else mmap.mmap(fd, MARKS * SIZE)
        self._places: dict[bytes, int] = {}
        self._free: list[int] = []
        self._fresh = itertools.count()

    def waits(self, id: bytes) -> None:
        """The task waits from now on."""
        place = self._places.get(id)
        if place is None:
            try:
                place = self._free.pop()
            except IndexError:
                place = next(self._fresh)
            self._places[id] = place
        self._write(place, id + bytes((_WAITS,)))

    def works(self, id: bytes) -> None:
        """The task goes on."""
        place = self._places.get(id)
        if place is not None:
            self._write(place, id + bytes((_WORKS,)))

    def ended(self, id: bytes) -> None:
        """The task needs no mark any more."""
        if self._places:
            place = self._places.pop(id, None)
            if place is not None:
                self._write(place, _NOBODY)
                self._free.append(place)

    def _write(self, place: int, mark: bytes) -> None:
        if place < MARKS and self._map is not None:
            self._map[place * SIZE : (place + 1) * SIZE] = mark

    def dup(self) -> int:
        """A descriptor of the same memory for the worker's side."""
        return os.dup(self.fd)

    def read(self) -> dict[bytes, bool]:
        """Whether it waits, of every task that has a mark."""
        data = os.pread(self.fd, self._written(), 0).rstrip(b"\0")
        marks = (data[start : start + SIZE] for start in range(0, len(data), SIZE))
        return {mark[:-1]: mark[-1] == _WAITS for mark in marks if mark != _NOBODY}

    def _written(self) -> int:
        """Bytes up to the last one that was ever written: what is behind it takes time to read and says nothing."""
        end = 0
        with suppress(OSError):  # no more data behind that
            while True:
                end = os.lseek(self.fd, os.lseek(self.fd, end, os.SEEK_DATA), os.SEEK_HOLE)
        return end

    def close(self) -> None:
        """Give up this side."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _memory() -> int:
    fd = os.memfd_create("understudy-marks", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, MARKS * SIZE)
    except OSError:
        os.close(fd)
        raise
    return fd

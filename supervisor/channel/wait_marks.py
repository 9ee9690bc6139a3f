"""Wait marks: what the tasks of a worker do, in memory that the supervisor can read after the worker's death.

A worker reports a few milliseconds late that a task waits. A task that wakes and crashes the process can never report
that it woke, and another task would be blamed. So the worker also marks the state in memory that both processes hold,
which costs no system call. In the same way it marks the actors whose objects it is building: no message is to blame
for what happens then.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

#: Tasks of one worker that can have a mark; the others are taken for what they last reported.
MARKS: Final = 65_536
#: Bytes of a mark: the task's id, and what it does.
SIZE: Final = 17

_WAITS: Final = 1
_WORKS: Final = 2
_BUILDS: Final = 4
_NOBODY: Final = bytes(SIZE)


class WaitMarks:
    """The worker's side may be used by any thread; the other side reads when the worker is dead."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _memory() if fd is None else fd
        self._map: mmap.mmap | None = None if fd is None else mmap.mmap(fd, MARKS * SIZE)
        self._places: dict[bytes, int] = {}
        self._free: list[int] = []
        self._building: set[bytes] = set()
        self._fresh = itertools.count()

    def waits(self, id: bytes) -> None:
        """The task waits from now on."""
        self._mark(self._place(id), id, _WAITS)

    def works(self, id: bytes) -> None:
        """The task goes on."""
        place = self._places.get(id)
        if place is not None:
            self._mark(place, id, _WORKS)

    def builds(self, id: bytes) -> None:
        """The object of the actor is being built."""
        self._building.add(id)
        self._mark(self._place(id), id, _WORKS)

    def built(self, id: bytes) -> None:
        """It is built."""
        self._building.discard(id)
        self.works(id)

    def _place(self, id: bytes) -> int:
        place = self._places.get(id)
        if place is None:
            try:
                place = self._free.pop()
            except IndexError:
                place = next(self._fresh)
            self._places[id] = place
        return place

    def ended(self, id: bytes) -> None:
        """The task needs no mark any more."""
        if self._places:
            self._building.discard(id)
            place = self._places.pop(id, None)
            if place is not None:
                self._write(place, _NOBODY)
                self._free.append(place)

    def _mark(self, place: int, id: bytes, state: int) -> None:
        if id in self._building:
            state |= _BUILDS
        self._write(place, id + bytes((state,)))

    def _write(self, place: int, mark: bytes) -> None:
        memory = self._map
        if place < MARKS and memory is not None:
            memory[place * SIZE : (place + 1) * SIZE] = mark

    def dup(self) -> int:
        """A descriptor of the same memory for the worker's side."""
        return os.dup(self.fd)

    def read(self) -> dict[bytes, bool]:
        """Whether it waits, of every task that has a mark."""
        return {mark[:-1]: bool(mark[-1] & _WAITS) for mark in self._read()}

    def read_building(self) -> set[bytes]:
        """The actors whose objects are being built."""
        return {mark[:-1] for mark in self._read() if mark[-1] & _BUILDS}

    def _read(self) -> Iterator[bytes]:
        data = os.pread(self.fd, self._written(), 0).rstrip(b"\0")
        marks = (data[start : start + SIZE] for start in range(0, len(data), SIZE))
        return (mark for mark in marks if mark != _NOBODY)

    def _written(self) -> int:
        """Bytes up to the last one that was ever written: what is behind it takes time to read and says nothing."""
        end = 0
        with suppress(OSError):  # no more data behind that
            while True:
                end = os.lseek(self.fd, os.lseek(self.fd, end, os.SEEK_DATA), os.SEEK_HOLE)
        return end

    def close(self) -> None:
        """Give up this side."""
        memory, self._map = self._map, None
        if memory is not None:
            memory.close()  # it has a descriptor of its own
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

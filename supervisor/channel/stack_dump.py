"""Stack dump: the stacks of a worker's threads, taken by a signal and without its interpreter.

A worker whose interpreter is held up by a C call cannot answer. Its `faulthandler` can: it writes the stacks of all
threads from the handler of a signal, into memory that the supervisor shares. The signal goes to the thread that reads
orders, so no system call of a task is interrupted.

The memory begins with the number of that thread. Then it has marks, which say in which thread a task runs. Short tasks
have none, because a mark costs time.
"""

from __future__ import annotations

import asyncio
import faulthandler
import mmap
import os
import signal
import struct
import sysconfig
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from ..linux.thread_signals import signal_state, signal_thread

#: The signal. Apps use the first two of these and the numbers from the ends; this one is seldom taken.
SIGNAL: Final = signal.SIGRTMAX - 7
#: Threads that may have a mark.
MARKS: Final = 1024
#: Bytes of the text of a dump that are read.
MOST: Final = 1024 * 1024
#: Seconds that a dump may take, and between two looks at it.
DUMP_WITHIN: Final = 2.0
LOOK: Final = 0.005

_MARK: Final = struct.Struct("=Q16s")
_READER: Final = struct.Struct("=Q")
_NOBODY: Final = bytes(16)
#: Where the marks begin, and where the text does.
_MARKS_AT: Final = 16
_TEXT_AT: Final = _MARKS_AT + MARKS * _MARK.size

#: The folders of the runtime and of the standard library. Not the root of the package: a checkout has tests and
#: examples below it.
PLUMBING: Final = (
    *(f"{Path(__file__).parents[2] / room}/" for room in ("actors", "storage", "supervisor")),
    f"{sysconfig.get_path('stdlib')}/",
    f"{sysconfig.get_path('platstdlib')}/",
)


class ThreadMark:
    """The mark of one thread. It is free again when the thread ends and drops it."""

    def __init__(self, memory: mmap.mmap, places: list[int]) -> None:
        self._memory = memory
        self._places = places
        self._ident = threading.get_ident()
        self._pid = os.getpid()
        self._place = places.pop() if places else -1

    def set(self, id: bytes) -> None:
        """This task runs in the thread."""
        if self._place >= 0:
            _MARK.pack_into(self._memory, self._place, self._ident, id)

    def clear(self) -> None:
        """It does not any more."""
        self.set(_NOBODY)

    def __del__(self) -> None:
        # A fork drops the marks of the threads that it has not, and shares the memory.
        if self._place >= 0 and os.getpid() == self._pid:
            with suppress(ValueError):  # closed
                self.clear()
            self._places.append(self._place)


class StackDumps:
    """The worker's side."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._memory = mmap.mmap(fd, _TEXT_AT)
        self._places = [_MARKS_AT + number * _MARK.size for number in reversed(range(MARKS))]

    def listen(self) -> None:
        """Let dumps be taken from now on. The calling thread gets the signals."""
        faulthandler.register(SIGNAL, self._fd, all_threads=True)
        _READER.pack_into(self._memory, 0, threading.get_native_id())

    def mark(self) -> ThreadMark:
        """The mark of the calling thread."""
        return ThreadMark(self._memory, self._places)

    @staticmethod
    def forget() -> None:
        """This process is a fork of the worker: the signal is no business of its own."""
        faulthandler.unregister(SIGNAL)


class StackMemory:
    """The supervisor's side. OSError if no descriptor is left."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("understudy-stacks", os.MFD_CLOEXEC)
        try:
            os.ftruncate(self.fd, _TEXT_AT)
        except OSError:
            self.close()
            raise
        self._taking: asyncio.Task[str | None] | None = None

    async def take(self, pid: int) -> str | None:
        """What `faulthandler` writes of the worker's threads; None if it cannot. Those who ask at once share one."""
        if self._taking is None or self._taking.done():
            self._taking = asyncio.get_running_loop().create_task(self._take(pid))
        return await asyncio.shield(self._taking)

    async def _take(self, pid: int) -> str | None:
        try:
            return await self._dumped(pid)
        except OSError:
            return None  # the worker has died, or /proc does not tell

    async def _dumped(self, pid: int) -> str | None:
        (reader,) = _READER.unpack(os.pread(self.fd, _READER.size, 0))
        if not reader:
            return None
        before = signal_state(pid, reader, SIGNAL)
        if not before.caught:
            # Without its handler the signal would end the worker.
            return None
        if not (before.pending or before.blocked):
            os.ftruncate(self.fd, _TEXT_AT)
            # Both sides share the position, at which the worker writes.
            os.lseek(self.fd, _TEXT_AT, os.SEEK_SET)
            signal_thread(pid, reader, SIGNAL)
        # Else a dump that took too long is still under way, and is taken now.
        until = time.monotonic() + DUMP_WITHIN
        while time.monotonic() < until:
            await asyncio.sleep(LOOK)
            now = signal_state(pid, reader, SIGNAL)
            if not now.pending and not now.blocked and os.fstat(self.fd).st_size > _TEXT_AT:
                break
        return os.pread(self.fd, MOST, _TEXT_AT).decode(errors="replace") or None

    def tasks(self) -> Mapping[int, bytes]:
        """The tasks whose threads are marked, by the thread's identifier."""
        data = os.pread(self.fd, MARKS * _MARK.size, _MARKS_AT)
        return {ident: id for ident, id in _MARK.iter_unpack(data) if id != _NOBODY}

    def close(self) -> None:
        """Give up this side."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

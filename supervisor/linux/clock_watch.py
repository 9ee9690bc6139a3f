"""`ClockWatch`: the kernel tells when the wall clock has been set, or has gone on while the machine slept."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

log = logging.getLogger("understudy")

_ABSOLUTE: Final = 1
_CANCEL_ON_SET: Final = 2
#: `struct itimerspec`, seconds and nanoseconds each of the period and of the first time: one that no clock comes to.
_TIMER: Final = struct.pack("@llll", 0, 0, min(2**40, sys.maxsize), 0)

_libc = ctypes.CDLL(None, use_errno=True)


class ClockWatch:
    """A timer of the kernel for a time that never comes. It is cancelled each time that the clock is set."""

    def __init__(self, on_set: Callable[[], None]) -> None:
        """`on_set` is called on the running event loop. Without such timers nothing is watched."""
        self._on_set = on_set
        self._loop = asyncio.get_running_loop()
        self._fd = _libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            log.debug("no timer for the clock: %s", os.strerror(ctypes.get_errno()))
            return
        self._arm()
        self._loop.add_reader(self._fd, self._was_set)

    def _arm(self) -> None:
        _libc.timerfd_settime(self._fd, _ABSOLUTE | _CANCEL_ON_SET, _TIMER, None)

    def _was_set(self) -> None:
        # The read fails with ECANCELED, and only then is the next change reported.
        with suppress(OSError):
            os.read(self._fd, 8)
        self._arm()
        self._on_set()

    def close(self) -> None:
        """Watch no longer. May be called twice."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

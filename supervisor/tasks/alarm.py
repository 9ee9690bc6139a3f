"""`Alarm`: a timer of the event loop for a time of the wall clock, which may be set meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ...actors.clock import Clock

#: Seconds after which the clock is looked at again: it may have been set, or the machine asleep, unnoticed by the
#: kernel's report of it (see `ClockWatch`).
CLOCK_LOOK: Final = 5.0


class Alarm:
    """Rings once at the time that was set last, or earlier: what it calls looks at the clock."""

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at this time, in seconds since the epoch. A timer that ends earlier stays."""
        self._at = at
        wait = max(0.0, at - self._clock.time())
        if self._clock.can_be_set:
            wait = min(wait, CLOCK_LOOK)
        timer, now = self._timer, self._loop.time()
        if timer is not None:
            if not timer.cancelled() and now < timer.when() <= now + wait:
                return
            timer.cancel()
        self._timer = self._loop.call_later(wait, self._rings)

    def look(self) -> None:
        """The clock was set: ring at the same time of it."""
        if self._timer is not None:
            self.set(self._at)

    def _rings(self) -> None:
        self._timer = None
        self._ring()

    def stop(self) -> None:
        """Do not ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

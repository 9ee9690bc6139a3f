"""VirtualLoop: an event loop whose time stands still, and that runs one round of callbacks when it is told to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

#: Seconds of the shortest wait.
TICK: Final = 1e-6


class VirtualLoop(asyncio.SelectorEventLoop):
    """It never blocks. Callbacks of one round run in the order in which they were asked for."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives the time in seconds."""
        self._now = now
        #: Whether callbacks were asked for since the last round.
        self._asked = False
        #: Timers by time: the next one says when the loop has something to do again.
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        super().__init__(selectors.DefaultSelector())

    def time(self) -> float:
        """The virtual time."""
        return self._now()

    def call_soon(  # type: ignore[override]  # typeshed's has a variadic generic
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio. A closed loop drops what the code of the dead asks of it."""
        if self.is_closed():
            return self._dropped(callback, args)
        self._asked = True
        return super().call_soon(callback, *args, context=context)

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See `call_soon`."""
        if self.is_closed():
            return self._dropped(callback, args)
        self._asked = True
        return super().call_soon_threadsafe(callback, *args, context=context)

    def _dropped(self, callback: Any, args: tuple[Any, ...]) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self)
        handle.cancel()
        return handle

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        # A wait that is lost in rounding would come again and again at the same time.
        return super().call_later(max(delay, TICK) if delay > 0 else delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        timer = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    @property
    def next_due(self) -> float | None:
        """When the next timer runs out; None if there is none."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    @property
    def has_work(self) -> bool:
        """Whether a round would run anything."""
        if self._asked:
            return True
        due = self.next_due
        return due is not None and due <= self._now()

    def run_round(self) -> None:
        """Run the callbacks that were asked for so far, and those of timers that are due."""
        now = self._now()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)
        self._asked = False
        super().call_soon(self.stop)
        self.run_forever()

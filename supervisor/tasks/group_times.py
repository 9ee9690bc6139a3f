"""GroupTimes: when the groups of limits are to be looked at again because a rate lets the next task in by then."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

from .gate_group import GateGroup


class GroupTimes:
    """One timer for all groups."""

    def __init__(self, come: Callable[[list[GateGroup]], None]) -> None:
        """`come` is called with the groups whose time has come."""
        self._loop = asyncio.get_running_loop()
        self._come = come
        self._timed: list[tuple[float, int, GateGroup]] = []
        self._numbered = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, group: GateGroup, at: float) -> None:
        """This group has its time then, by the event loop's clock, unless it has an earlier one."""
        if group.wakes is None or at < group.wakes:
            group.wakes = at
            heapq.heappush(self._timed, (at, next(self._numbered), group))
            self._set_timer()

    def stop(self) -> None:
        """Nobody's time comes any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        at = self._timed[0][0]
        if self._timer is not None:
            if self._timer.when() <= at and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now, due = self._loop.time(), []
        while self._timed and self._timed[0][0] <= now:
            _, _, group = heapq.heappop(self._timed)
            group.wakes = None
            due.append(group)
        if self._timed:
            self._set_timer()
        self._come(due)

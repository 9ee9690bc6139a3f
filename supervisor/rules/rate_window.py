"""The window of a rate: when the next attempt may begin.

In no window of `per` seconds begin more than `count` attempts. An attempt that has been let in and is not known to have
begun may begin at any time, so it counts until that is known.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable
from typing import Final

from ...actors.task.limit import Rate

#: Seconds by which a window is longer than its rate says: an attempt's code begins a little after its noted begin.
MARGIN: Final = 0.01


def begins_of(times: Iterable[float], ahead: float, now: float) -> list[float]:
    """Times of a wall clock as those of the monotonic clock, which is at `now`; sorted.

    The wall clock was `ahead` of it when they were noted. None lies later than now: that clock may have been set back.
    """
    return sorted(min(now, at - ahead) for at in times)


class RateWindow:
    """The attempts that count for one rate. Times are seconds of one clock that is never set."""

    __slots__ = ("let_in", "times")

    def __init__(self, times: Iterable[float] = ()) -> None:
        #: When attempts have begun, at the latest; sorted.
        self.times: deque[float] = deque(sorted(times))
        #: Attempts that were let in and are not known to have begun.
        self.let_in = 0

    def __bool__(self) -> bool:
        return bool(self.let_in or self.times)

    def room(self, rate: Rate, now: float) -> int:
        """How many more attempts may be let in now."""
        self.forget(rate, now)
        return max(0, rate.count - self.let_in - len(self.times))

    def forget(self, rate: Rate, now: float) -> None:
        """Drop the attempts that do not count any more."""
        times, before = self.times, now - rate.per - MARGIN
        while times and times[0] <= before:
            times.popleft()

    def opens(self, rate: Rate) -> float | None:
        """When the next one may be let in, if nothing else changes; None if only a begin can tell."""
        over = len(self.times) + self.let_in - rate.count
        if over < 0 or over >= len(self.times):
            return None
        return self.times[over] + rate.per + MARGIN

    def begun(self, at: float) -> None:
        """One of those that were let in has begun, at this time or before."""
        self.let_in -= 1
        if not self.times or at >= self.times[-1]:
            self.times.append(at)
        else:
            insort(self.times, at)

    def went_back(self) -> None:
        """One of those that were let in has not begun and will not."""
        self.let_in -= 1

"""Which deaths of its workers still count against a task, and from which attempt on its retry delays count.

A task may run for years. So deaths count within a window only, and an attempt that has run for as long as the window
was healthy: the delays before retries begin anew after it.
"""

from __future__ import annotations

from collections.abc import Sequence


def recent(deaths: Sequence[float], now: float, window: float) -> tuple[float, ...]:
    """The deaths (times since the epoch) that count at `now`. A clock that was set back forgives nothing."""
    return tuple(at for at in deaths if now - at <= window)


def delays_from(before: int, attempt: int, seconds: float, window: float) -> int:
    """The number of the attempt whose retry has the first delay of the policy.

    `before` is that number so far; attempt number `attempt` has run for `seconds`.
    """
    return attempt if seconds >= window else before

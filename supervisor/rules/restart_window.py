"""The restarts of a supervision tree that count: those of the last seconds, by the wall clock. Pure."""

from __future__ import annotations


def noted(window: tuple[float, ...], now: float, limit: int, within: float) -> tuple[tuple[float, ...], bool]:
    """The times that count after one more restart at `now`, and whether they are too many.

    `limit` restarts within `within` seconds are allowed. Times in the future, from before the clock was set back, do
    not count. It is on disk, so that it stays over a restart of the supervisor, which is why the clock is no
    monotonic one.
    """
    times = (*(at for at in window if now - within <= at <= now), now)
    return times[-(limit + 1) :], len(times) > limit

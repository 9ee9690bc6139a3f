"""The alarm with a wall clock that is set, on a real event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from understudy.supervisor.tasks.alarm import CLOCK_LOOK, Alarm

#: Seconds that any step may take, shorter than CLOCK_LOOK.
PATIENCE = CLOCK_LOOK * 0.6


class WallClock:
    """A clock that a test sets."""

    can_be_set = True

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


def told(story: Callable[[Alarm, WallClock, asyncio.Event], Awaitable[None]]) -> None:
    async def main() -> None:
        clock, rung = WallClock(), asyncio.Event()
        alarm = Alarm(cast("Any", clock), rung.set)
        await story(alarm, clock, rung)
        alarm.stop()

    asyncio.run(main())


def test_it_rings_at_a_time_that_has_passed() -> None:
    async def story(alarm: Alarm, clock: WallClock, rung: asyncio.Event) -> None:
        alarm.set(clock.now - 1)
        await asyncio.wait_for(rung.wait(), PATIENCE)

    told(story)


def test_it_rings_at_once_when_the_clock_was_set_forward() -> None:
    async def story(alarm: Alarm, clock: WallClock, rung: asyncio.Event) -> None:
        alarm.set(clock.now + 3600)
        clock.now += 7200
        alarm.look()
        await asyncio.wait_for(rung.wait(), PATIENCE)
        rung.clear()
        alarm.look()
        await asyncio.sleep(0)
        assert not rung.is_set(), "it rings once"

    told(story)


def test_an_earlier_time_replaces_a_later_one() -> None:
    async def story(alarm: Alarm, clock: WallClock, rung: asyncio.Event) -> None:
        alarm.set(clock.now + 3600)
        alarm.set(clock.now + 0.01)
        alarm.set(clock.now + 3600)
        await asyncio.wait_for(rung.wait(), PATIENCE)

    told(story)


def test_a_stopped_one_does_not_ring() -> None:
    async def story(alarm: Alarm, clock: WallClock, rung: asyncio.Event) -> None:
        alarm.set(clock.now)
        alarm.stop()
        alarm.look()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rung.wait(), 0.02)

    told(story)

"""A timer that runs out late says that the process stood still, one that is a little late does not."""

from __future__ import annotations

import asyncio

import pytest

from understudy.supervisor.rules.pauses import PAUSE, was_paused


@pytest.mark.parametrize(
    ("late", "still"),
    [(0.0, False), (PAUSE, False), (PAUSE + 0.001, True), (7 * 3600.0, True)],
)
def test_by_how_late_a_timer_is(late: float, still: bool):
    async def story() -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_at(1000.0, print)
        timer.cancel()
        assert was_paused(timer, 1000.0 + late) is still

    asyncio.run(story())


def test_no_timer_no_standstill():
    assert not was_paused(None, 1000.0)

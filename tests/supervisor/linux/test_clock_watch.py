"""The watch of the clock, with the real clock: it is set to the time that it has."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from understudy.supervisor.linux.clock_watch import ClockWatch


def set_clock() -> None:
    """Set the wall clock of this machine to its own time. Skips where that is not allowed."""
    try:
        time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns())
    except PermissionError:
        pytest.skip("the clock may not be set here")


def test_each_change_of_the_clock_is_reported() -> None:
    async def story() -> None:
        told = asyncio.Event()
        watch = ClockWatch(told.set)
        try:
            for _ in range(3):
                set_clock()
                await asyncio.wait_for(told.wait(), 10)
                told.clear()
        finally:
            watch.close()

    asyncio.run(story())


def test_it_leaves_no_descriptor() -> None:
    async def story() -> None:
        before = set(os.listdir("/proc/self/fd"))
        watch = ClockWatch(lambda: None)
        assert len(set(os.listdir("/proc/self/fd")) - before) == 1
        watch.close()
        watch.close()
        assert set(os.listdir("/proc/self/fd")) == before

    asyncio.run(story())

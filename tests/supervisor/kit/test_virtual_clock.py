from __future__ import annotations

import time
from typing import Any

import pytest

import kit_tasks as app
from understudy import InvalidOption, aio, sleep, task
from understudy.testing import InlineRuntime, VirtualClock, wait_until

TOLD: list[Any] = []


@task
def tells(name: str, seconds: float) -> None:
    sleep(seconds)
    TOLD.append((name, RUNTIMES[-1].clock.time()))


@task
async def tells_async(name: str, seconds: float) -> None:
    await aio.sleep(seconds)
    TOLD.append((name, RUNTIMES[-1].clock.time()))


RUNTIMES: list[InlineRuntime] = []


def test_what_is_due_runs_in_the_order_of_time_and_at_its_time() -> None:
    TOLD.clear()
    with InlineRuntime(now=1_000_000) as rt:
        RUNTIMES.append(rt)
        for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("d", 5)):
            rt.start(tells, name, seconds)
        rt.start(tells_async, "async", 2.5)
        rt.start(tells.options(delay=2.75), "late", 0)
        rt.clock.advance(4)
        assert [name for name, _ in TOLD] == ["a", "b", "async", "late", "c"]
        assert [at for _, at in TOLD] == pytest.approx([1_000_000 + s for s in (1, 2, 2.5, 2.75, 3)])
        assert rt.clock.time() == 1_000_004
        assert rt.clock.monotonic() == 1_004


def test_it_starts_now_and_stands_still() -> None:
    with InlineRuntime() as rt:
        assert isinstance(rt.clock, VirtualClock)
        assert abs(rt.clock.time() - time.time()) < 60
        then = rt.clock.time()
        assert rt.run(app.add, 1, 2) == 3
        assert rt.clock.time() == then
        rt.clock.advance(0)
        assert rt.clock.time() == then


def test_seconds_that_are_none() -> None:
    with InlineRuntime() as rt:
        for wrong in (-1, float("nan"), "1"):
            with pytest.raises(InvalidOption):
                rt.clock.advance(wrong)  # type: ignore[arg-type]


def test_many_small_steps_are_as_good_as_a_large_one() -> None:
    with InlineRuntime() as rt:
        info = rt.start(app.third_time)
        for _ in range(6):
            rt.clock.advance(app.SOON / 2)
        assert rt.result(info) == 3


def test_a_call_with_a_timeout_lets_no_more_time_pass_than_it_needs() -> None:
    with InlineRuntime(now=0) as rt:
        rt.result(rt.start(app.third_time), timeout=60)
        assert rt.clock.time() == pytest.approx(3 * app.SOON, abs=0.001)
        with pytest.raises(TimeoutError):
            rt.result(rt.start(app.collect), timeout=60)
        assert rt.clock.time() == pytest.approx(60 + 3 * app.SOON, abs=0.001)


def test_a_month_takes_no_time() -> None:
    with InlineRuntime(now=0) as rt:
        ref = rt.actor(app.Account, "ada", "Ada")
        rt.start(app.add.options(keep=86_400), 1, 2)
        ref.call(app.Account.pay_later, 5)
        rt.clock.advance(30 * 86_400)
        assert ref.call(app.Account.peek) == 5
        assert rt.list(task=app.add) == [], "it was kept for a day"


def test_waiting_for_a_condition() -> None:
    with InlineRuntime(now=0) as rt:
        info = rt.start(app.third_time)
        assert wait_until(lambda: rt.status(info).ended)
        with pytest.raises(TimeoutError):
            wait_until(lambda: False, 5)
        assert rt.clock.time() == pytest.approx(5 + 3 * app.SOON, abs=0.01)

"""Waiting for several tasks at once, inside of tasks and outside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tie_tasks as app
from understudy import (
    AsyncRuntime,
    InvalidOption,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    as_completed,
    gather,
)
from understudy.actors.ids import id_text, new_id
from understudy.testing import InlineRuntime

GATHERS = [app.gathers, app.gathers_async]


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime(workers=1, slots=1) as runtime:
        yield runtime


# --- in a task ---


@pytest.mark.parametrize("task", [app.sum_up, app.sum_up_async])
def test_a_parent_holds_no_slot_while_it_gathers(rt: InlineRuntime, task: Any):
    assert rt.result(rt.start(task, 20), 10) == 3 * sum(range(20))
    assert rt.result(rt.start(task, 0), 10) == 0


@pytest.mark.parametrize("task", GATHERS)
def test_the_first_error_ends_it_and_leaves_the_others(rt: InlineRuntime, task: Any):
    ids = [rt.start(app.rest).id, rt.start(app.fails.options(delay=5)).id]
    parent = rt.start(task, ids)
    with pytest.raises(TaskFailed, match="told to"):
        rt.result(parent, 100)
    assert rt.status(ids[0]).state == "running"


@pytest.mark.parametrize("task", GATHERS)
def test_it_ends_in_time(rt: InlineRuntime, task: Any):
    ids = [rt.start(app.rest).id, rt.start(app.double, 1).id]
    with pytest.raises(TaskFailed, match=r"TimeoutError: .*not .*ended within 5 s"):
        rt.result(rt.start(task, ids, 5), 100)
    with pytest.raises(TaskFailed, match="TaskNotFound"):
        rt.result(rt.start(task, [id_text(new_id())]), 100)


@pytest.mark.parametrize("task", GATHERS)
def test_a_cancel_ends_it(rt: InlineRuntime, task: Any):
    parent = rt.start(task, [rt.start(app.rest).id])
    rt.settle()
    rt.cancel(parent)
    assert rt.wait(parent, 5).state == "cancelled"


def test_errors_stand_in_the_places_of_values(rt: InlineRuntime):
    ids = [rt.start(app.double, 1).id, rt.start(app.fails).id, rt.start(app.rest).id]
    rt.cancel(ids[2])
    value, failed, cancelled = rt.result(rt.start(app.outcomes, ids), 10)
    assert value == "2"
    assert failed.startswith("TaskFailed(")
    assert cancelled.startswith("TaskCancelled(")


@pytest.mark.parametrize("task", [app.in_order_of_ends, app.in_order_of_ends_async])
def test_tasks_come_in_the_order_of_their_ends(task: Any):
    with InlineRuntime(workers=1, slots=1) as rt:
        assert rt.result(rt.start(task, [30.0, 10.0, 20.0, 0.0]), 100) == [3, 1, 2, 0]
        assert rt.result(rt.start(task, []), 100) == []
        with pytest.raises(TaskFailed, match=r"TimeoutError: .*not .*ended within 15 s"):
            rt.result(rt.start(task, [30.0, 10.0], 15.0), 100)


@pytest.mark.parametrize("task", [app.sum_up, app.sum_up_async])
@pytest.mark.parametrize("how", ["crash", "kill"])
def test_a_parent_that_is_killed_amid_a_gather_goes_on(task: Any, how: str):
    with InlineRuntime(workers=1, max_crashes=1_000, restarts=1_000) as rt:
        parent = rt.start(task, 10, 30.0)
        for _ in range(3):
            rt.clock.advance(7)
            rt.crash() if how == "crash" else rt.kill_worker(parent)
        assert rt.result(parent, 1_000) == 3 * sum(range(10))
        assert len(rt.list(task="ties:brief")) == 10, "each child once"


# --- outside ---


def test_programs_gather_as_well(rt: InlineRuntime):
    infos = [rt.start(app.brief, number, 10.0 - number) for number in range(5)]
    again = [*infos, infos[0], infos[0].id]
    assert rt.gather(iter(again), 100) == [0, 3, 6, 9, 12, 0, 0]
    assert rt.gather([]) == []
    assert rt.wait_for_all(again).result() == [0, 3, 6, 9, 12, 0, 0]
    assert list(rt.as_completed([infos[0], infos[0].id])) == [infos[0].id], "each once"
    assert sorted(info.result() for info in rt.as_completed(infos)) == [0, 3, 6, 9, 12]
    with rt:
        assert gather(infos) == [0, 3, 6, 9, 12]
        assert {*as_completed(infos)} == {*infos}


def test_what_is_refused(rt: InlineRuntime):
    info = rt.start(app.rest)
    with pytest.raises(InvalidOption, match="errors"):
        rt.gather([info], errors="ignore")  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="gather takes tasks"):
        rt.gather(info)  # type: ignore[call-overload]
    with pytest.raises(InvalidOption, match="as_completed takes tasks"):
        rt.as_completed(7)  # type: ignore[arg-type]
    with pytest.raises(TimeoutError, match="has not ended within 5 s"):
        rt.gather([info], 5)
    with pytest.raises(TimeoutError, match="has not ended within 5 s"):
        next(rt.as_completed([info], 5))
    with pytest.raises(TaskNotFound):
        rt.gather([id_text(new_id())])
    rt.cancel(info)
    with pytest.raises(TaskCancelled):
        rt.gather([info])


def test_asyncio_programs_have_both(home: Path):
    async def story() -> None:
        async with AsyncRuntime(home, app=app.__file__, workers=1) as rt:
            infos = await rt.start_many(app.brief, [(n, 0.3 - n / 10) for n in range(3)])
            assert await rt.gather(infos) == [0, 3, 6]
            assert {info async for info in rt.as_completed(infos)} == {*infos}
            rest = await rt.start(app.rest)
            bad = await rt.start(app.fails)
            with pytest.raises(TaskFailed):
                await rt.gather([rest, bad])
            one, other = await rt.gather([bad, infos[2]], errors="return")
            assert (type(one), other) == (TaskFailed, 6)
            with pytest.raises(TimeoutError):
                await rt.gather([rest], 0.05)
            with pytest.raises(TimeoutError):
                [each async for each in rt.as_completed([rest], 0.05)]
            await rt.cancel(rest)

    asyncio.run(story())

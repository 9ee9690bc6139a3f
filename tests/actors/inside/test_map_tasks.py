"""`map_tasks` and its awaitable twin, inside of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import map_stage as app
from understudy import NotInTask, TaskFailed, aio, map_tasks
from understudy.testing import InlineRuntime

BOTH = pytest.mark.parametrize("task", [app.sum_up, app.sum_up_async], ids=["sync", "async"])


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime(workers=1, slots=1) as runtime:
        yield runtime


def children(rt: InlineRuntime, name: str = "maps:triple") -> int:
    return len(rt.list(task=name, limit=10_000))


@BOTH
@pytest.mark.parametrize(
    ("count", "limit"), [(0, 100), (1, 1), (30, 1), (30, 3), (100, 100), (1_000, 7), (300, 10_000)]
)
def test_values_come_in_order_and_the_parent_holds_no_slot(
    rt: InlineRuntime, task: Any, count: int, limit: int
):
    assert rt.result(rt.start(task, count, 0.0, limit), 100) == 3 * sum(range(count))
    assert children(rt) == count


@BOTH
def test_no_more_than_the_limit_are_under_way(rt: InlineRuntime, task: Any):
    parent = rt.start(task, 100, 50.0, 10)
    rt.settle()
    assert children(rt) == 10
    rt.cancel(parent)
    rt.settle()
    assert rt.status(parent).state == "cancelled"
    assert {each.state for each in rt.list(task="maps:triple")} == {"cancelled"}


@BOTH
@pytest.mark.parametrize("how", ["crash", "kill"])
def test_a_parent_that_is_killed_goes_on_and_starts_none_twice(task: Any, how: str):
    with InlineRuntime(workers=1, max_crashes=1_000, restarts=1_000) as rt:
        parent = rt.start(task, 40, 30.0, 8)
        for _ in range(4):
            rt.clock.advance(40)
            rt.crash() if how == "crash" else rt.kill_worker(parent)
        assert rt.result(parent, 10_000) == 3 * sum(range(40))
        assert children(rt) == 40, "each child once"


def test_the_forms_of_items_and_tasks(rt: InlineRuntime):
    assert rt.result(rt.start(app.forms), 10) == [[3, 6, 9, 12], [15], [], [18, 21]]


def test_maps_side_by_side_and_inside_of_each_other(rt: InlineRuntime):
    assert rt.result(rt.start(app.two_at_once, 30), 10) == [[3 * n, 3 * n] for n in range(30)]
    assert rt.result(rt.start(app.nested, 3, 3), 10) == 27


# --- errors ---


def test_an_error_stands_in_the_place_of_the_value(rt: InlineRuntime):
    assert rt.result(rt.start(app.outcomes, 4), 10) == [0, "TaskFailed", 2, "TaskFailed"]


def test_the_first_error_ends_the_map(rt: InlineRuntime):
    assert rt.result(rt.start(app.raises, 50), 10) == [0, "ValueError: 1 is odd", []]
    assert children(rt, "maps:odd_fails") < 10


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_an_error_of_the_items_comes_behind_the_values_before_it(rt: InlineRuntime, limit: int):
    values = [3 * n for n in range(10)]
    assert rt.result(rt.start(app.broken_items, 10, limit), 10) == [*values, "no more items"]
    assert rt.result(rt.start(app.bad_item, 4), 10) == [*values[:4], "UnencodableValue"]


def test_those_under_way_end_with_a_parent_that_fails(rt: InlineRuntime):
    parent = rt.start(app.fails_with_it, [1, 2, 3])
    rt.settle()
    first = min(rt.list(task="maps:rest"), key=lambda record: record.id)
    rt.close_mailbox(first.id)
    with pytest.raises(TaskFailed, match="enough"):
        rt.result(parent, 10)
    rt.settle()
    assert sorted(each.state for each in rt.list(task="maps:rest")) == ["cancelled", "cancelled", "completed"]


def test_a_map_that_is_left_starts_no_more_and_its_children_end_with_the_parent(rt: InlineRuntime):
    parent = rt.start(app.takes_some, 1_000, 20, 3)
    rt.settle()
    assert children(rt) <= 3 + 20
    assert rt.status(parent).state == "running"
    rt.send(parent, "end")
    assert rt.result(parent, 10) == [0, 3, 6]
    assert rt.result(rt.start(app.takes_some_async, 1_000), 10) == [0, 3, 6]


# --- what is known of the children ---


def test_other_code_at_the_next_attempt_finds_the_children_of_its_own_map(rt: InlineRuntime):
    # Of other items, the children that were started count.
    assert rt.result(rt.start(app.other_code), 10) == [3, 6, 9, 24]
    assert children(rt) == 4


def test_a_retry_of_the_parent_has_children_of_its_own(rt: InlineRuntime):
    parent = rt.start(app.rests, 3)
    rt.settle()
    rt.cancel(parent)
    rt.settle()
    again = rt.retry(parent)
    rt.settle()
    assert sorted(each.state for each in rt.list(task="maps:rest")) == ["cancelled"] * 3 + ["running"] * 3
    for record in rt.list(task="maps:rest", state="running"):
        rt.close_mailbox(record.id)
    assert rt.result(again, 10) == [0, 1, 2]


def test_a_unique_task_that_is_there_counts_as_the_child(rt: InlineRuntime):
    assert rt.result(rt.start(app.shared), 100) == [7, 7, 8, 7]
    assert children(rt, "maps:once") == 2


def test_large_values_are_read_from_disk_in_their_turn(rt: InlineRuntime):
    assert rt.result(rt.start(app.large_values, 40, 30), 50) == 40 * app.LARGE


@pytest.mark.parametrize(("tells", "total", "note"), [(False, 20, ""), (True, 1_000, "own")])
def test_progress_is_that_of_the_map_unless_the_task_tells_its_own(
    rt: InlineRuntime, tells: bool, total: float, note: str
):
    parent = rt.start(app.own_progress, tells)
    rt.clock.advance(1)
    progress = rt.status(parent).progress
    assert progress is not None
    assert (progress.done, progress.total, progress.note) == (57 if tells else 20, total, note)
    rt.cancel(parent)


# --- what is refused ---


def test_what_is_refused(rt: InlineRuntime):
    told = rt.result(rt.start(app.refusals), 10)
    for line, text in zip(
        told,
        (
            "InvalidOption: limit must be",
            "InvalidOption: limit must be",
            "InvalidOption: limit must be",
            "InvalidOption: errors must be 'raise' or 'return'",
            "InvalidOption: map_tasks takes items",
            "InvalidOption: map_tasks would give all children the one key 'one'",
            "InvalidOption: map_tasks takes a task",
            "UnknownTask: the supervisor's app declares no task 'maps:unknown'",
            "",
            "NestedStep: step map_tasks maps:triple is called inside step map_stage:lists",
            "NotInTask: aio.map_tasks works only in an async def task",
        ),
        strict=True,
    ):
        assert line.startswith(text), line
    assert "use `aio.map_tasks(…)`" in rt.result(rt.start(app.refused_async), 10)


def test_outside_of_tasks_and_in_actors(rt: InlineRuntime):
    with pytest.raises(NotInTask, match="map_tasks works only inside a running task"):
        map_tasks(app.triple, [1])
    with pytest.raises(NotInTask):
        aio.map_tasks(app.triple, [1])
    with rt, pytest.raises(NotInTask, match="works in tasks, not in methods of actors"):
        rt.actor(app.Maps).proxy().map().get(timeout=10)

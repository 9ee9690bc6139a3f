"""Attempts, causes and windows, with the clock of an inline runtime; with real processes in the scenarios."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from understudy import (
    InvalidOption,
    InvalidQuery,
    Retry,
    State,
    TaskNotFound,
    Times,
    current,
    receive,
    sleep,
    task,
)
from understudy.storage.tables.attempt_rows import KEPT
from understudy.testing import InlineRuntime


@task
def works(seconds: float) -> None:
    sleep(seconds)


@task(retry=Retry(attempts=1000, delay=5))
def fails_until(attempt: int) -> str:
    if current().attempt < attempt:
        raise ConnectionError(f"peer {current().attempt} is away")
    return "here"


@task(timeout=2, grace=1, retry=1)
def hangs() -> None:
    receive()


@task
def breaks(number: int) -> None:
    sleep(1)
    raise ValueError(f"row {number}")


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime(now=1_800_000_000.0, slots=2) as runtime:
        yield runtime


def facts(rt: InlineRuntime, id: str) -> list[tuple[int, str, float, float | None, str | None]]:
    begin = rt.status(id).created
    return [
        (
            run.attempt,
            run.state,
            (run.started or 0) - begin,
            None if run.ended is None else run.ended - begin,
            None if run.error is None else run.error.message,
        )
        for run in rt.attempts(id)
    ]


# --- attempts ---


def test_a_task_that_runs_once_has_one_attempt_and_no_row(rt: InlineRuntime) -> None:
    info = rt.start(works, 3)
    assert facts(rt, info.id) == [(1, "running", 0, None, None)]
    rt.clock.advance(3)
    assert facts(rt, info.id) == [(1, "completed", 0, 3, None)]
    assert rt.attempts(info.id).dropped == 0
    later = rt.start(works.options(delay=60), 1)
    assert len(rt.attempts(later.id)) == 0


def test_each_attempt_has_its_times_its_worker_and_its_error(rt: InlineRuntime) -> None:
    info = rt.start(fails_until, 3)
    rt.clock.advance(20)
    assert facts(rt, info.id) == [
        (1, "failed", 0, 0, "peer 1 is away"),
        (2, "failed", 5, 5, "peer 2 is away"),
        (3, "completed", 10, 10, None),
    ]
    assert all(run.worker_pid for run in rt.attempts(info.id))


def test_attempts_that_time_out_and_interruptions_are_told_apart(rt: InlineRuntime) -> None:
    info = rt.start(hangs)
    rt.clock.advance(1)
    rt.crash()
    rt.clock.advance(30)
    assert rt.status(info.id).state is State.TIMED_OUT
    assert [(number, state) for number, state, *_ in facts(rt, info.id)] == [
        (1, "interrupted"),
        (1, "timed_out"),
        (2, "timed_out"),
    ]


def test_the_oldest_attempts_are_dropped_and_counted(rt: InlineRuntime) -> None:
    info = rt.start(fails_until, KEPT + 11)
    rt.clock.advance(5 * (KEPT + 12))
    runs = rt.attempts(info.id)
    assert rt.status(info.id).state is State.COMPLETED
    assert (len(runs), runs.dropped, runs[0].attempt, runs[-1].attempt) == (KEPT, 11, 12, KEPT + 11)


def test_a_task_that_does_not_exist_has_no_attempts(rt: InlineRuntime) -> None:
    with pytest.raises(TaskNotFound):
        rt.attempts("01a2250d-9aee-7712-b554-0bdf6fa76b7f")


def test_attempts_are_searched_by_an_index(rt: InlineRuntime) -> None:
    once, twice, thrice = (rt.start(fails_until, number).id for number in (1, 2, 3))
    rt.clock.advance(60)

    def found(query: str) -> list[str]:
        return [record.id for record in rt.search(query)]

    assert found("attempt:>1") == [thrice, twice]
    assert found("attempt:3") == found("attempt:>=3 task:fails*") == [thrice]
    assert found("attempt:1") == found("-attempt:>1") == [once]
    assert found("attempt:<3") == [twice, once]
    with pytest.raises(InvalidQuery, match="attempt takes a number") as caught:
        rt.search("task:x attempt:many")
    assert caught.value.column == 16
    rt.prune(all=True)
    assert found("attempt:>1") == []


# --- stats ---


def test_a_window_counts_ends_and_measures_times(rt: InlineRuntime) -> None:
    for seconds in range(1, 101):
        rt.start(works, seconds)
    rt.clock.advance(200)
    rt.start(works.options(delay=100), 7)
    rt.start(works, 500)
    rt.clock.advance(250)
    records = [record for record in rt.list(limit=1000) if record.state is State.COMPLETED]
    found = rt.stats(3_600)
    assert found.ended == {State.COMPLETED: 101}
    assert found.throughput == pytest.approx(101 / found.seconds)
    times = sorted(float(record.ended or 0) - float(record.started or 0) for record in records)
    assert found.run.count == found.wait.count == 101
    for part, time in ((0.5, found.run.p50), (0.9, found.run.p90), (0.99, found.run.p99)):
        assert time == pytest.approx(times[math.ceil(part * 101) - 1], rel=0.05)
    assert found.wait.p99 == 0, "waiting in sleep holds no slot, and a delay is no wait"
    assert rt.stats(200).ended == {State.COMPLETED: 1}
    assert list(found.tasks) == [works.name]
    assert found.tasks[works.name].ended == found.ended


def test_retries_count_with_their_times(rt: InlineRuntime) -> None:
    rt.start(fails_until, 4)
    rt.start(hangs)
    rt.clock.advance(60)
    found = rt.stats()
    assert found.ended == {State.COMPLETED: 1, State.TIMED_OUT: 1}
    assert found.retried == 4
    assert found.run.count == 6
    assert found.tasks[fails_until.name].retried == 3
    assert found.tasks[fails_until.name].wait == Times(4, 0.0, 0.0, 0.0), "the delay of a retry is no wait"


@pytest.mark.parametrize("wanted", [works, "works", "*:works", "w*", works.name])
def test_a_window_of_some_tasks(rt: InlineRuntime, wanted: Any) -> None:
    rt.start(works, 1)
    rt.start(breaks, 1)
    rt.clock.advance(2)
    assert list(rt.stats(task=wanted).tasks) == [works.name]
    assert rt.stats(task=wanted).ended == {State.COMPLETED: 1}
    assert rt.stats(task="nothing").tasks == {}
    assert rt.stats(task="nothing").run == Times()


def test_windows_survive_days_and_the_pruning_of_tasks(rt: InlineRuntime) -> None:
    for _ in range(3):
        rt.start(works, 1)
        rt.clock.advance(86_400)
    rt.prune(all=True)
    assert rt.list() == []
    assert rt.stats(4 * 86_400).ended == {State.COMPLETED: 3}
    assert rt.stats(1.5 * 86_400).ended == {State.COMPLETED: 1}
    assert rt.stats(3_600).ended == {}
    rt.crash()
    assert rt.stats(100 * 86_400).ended == {State.COMPLETED: 3}


# --- errors ---


def test_failures_are_grouped_by_their_cause(rt: InlineRuntime) -> None:
    infos = [rt.start(breaks, number) for number in range(7)]
    rt.start(hangs)
    rt.clock.advance(60)
    first, second = rt.errors()
    assert (first.task, first.type, first.message, first.count) == (breaks.name, "ValueError", "row #", 7)
    assert first.frame.endswith("test_outcomes.py in breaks")
    assert first.tasks == tuple(info.id for info in infos[:1:-1])
    assert (second.type, second.count) == ("Timeout", 1)
    assert rt.errors(task=hangs)[0] == second
    assert [group.type for group in rt.errors(limit=1)] == ["ValueError"]
    assert rt.errors(limit=1).total == 2


def test_a_window_leaves_earlier_failures_out(rt: InlineRuntime) -> None:
    rt.start(breaks, 1)
    rt.clock.advance(7_200)
    rt.start(breaks, 2)
    rt.clock.advance(60)
    assert [group.count for group in rt.errors(3_600)] == [1]
    (group,) = rt.errors(7_300)
    assert (group.count, group.last - group.first) == (2, 7_200)
    assert list(rt.errors(20)) == []


def test_pruned_failures_are_forgotten(rt: InlineRuntime) -> None:
    rt.start(breaks.options(keep=60), 1)
    kept = rt.start(breaks, 2)
    rt.clock.advance(500)
    (group,) = rt.errors()
    assert (group.count, group.tasks) == (1, (kept.id,))
    rt.prune(all=True)
    assert list(rt.errors()) == []


@pytest.mark.parametrize("window", [0, -1, "1h", None, float("nan"), 401 * 86_400])
def test_a_window_that_is_none_is_refused(rt: InlineRuntime, window: Any) -> None:
    for call in (rt.stats, rt.errors):
        with pytest.raises(InvalidOption, match="window"):
            call(window)


def test_other_wrong_arguments_are_refused(rt: InlineRuntime) -> None:
    for limit in (0, 10_001, 1.5):
        with pytest.raises(InvalidOption, match="limit"):
            rt.errors(limit=limit)  # type: ignore[arg-type]
    for wrong in (7, [7]):
        with pytest.raises(InvalidOption, match="task is a task"):
            rt.stats(task=wrong)  # type: ignore[arg-type]

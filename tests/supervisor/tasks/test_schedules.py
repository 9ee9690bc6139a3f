"""Schedules on the clock of an `InlineRuntime`: every occurrence is one run, or one skip with its reason."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from understudy import (
    Fail,
    InvalidOption,
    InvalidTask,
    Runtime,
    ScheduleInfo,
    ScheduleNotFound,
    State,
    UnknownTask,
    cron,
    current,
    emit,
    every,
    on,
    schedule,
    sleep,
    task,
)
from understudy.actors.schedules import declaration
from understudy.actors.task.declaration import registry
from understudy.storage.check_schedules import ScheduleCheck
from understudy.storage.memory_store import MemoryView
from understudy.storage.reader import Reader
from understudy.storage.tables.schema import Table
from understudy.supervisor.rules.due import CHANGED, MISSED, OVERLAP, SUPERSEDED, TOO_LATE
from understudy.testing import InlineRuntime

#: 2026-06-21, 00:00 UTC, a Sunday.
START = 1_782_000_000.0
HOUR = 3_600.0
DAY = 86_400.0


@task
def told(word: str = "") -> tuple[str, float | None]:
    trigger = current().trigger
    assert trigger is not None
    assert current().kind == "schedule"
    return word, trigger.scheduled_at


@task
def naps(seconds: float) -> float:
    sleep(seconds)
    return seconds


@task
def fails(how_often: int) -> None:
    if current().trigger is not None and registered.get("runs", 0) < how_often:
        registered["runs"] = registered.get("runs", 0) + 1
        raise Fail("as it was told to")


@task
def plans() -> str:
    return schedule(told, "later", after=60, key="planned").key


def nightly() -> float | None:
    trigger = current().trigger
    return None if trigger is None else trigger.scheduled_at


def alarmed(event: Any) -> Any:
    emit("alarmed", event.data)
    return event.data


registered: dict[str, int] = {}


@contextmanager
def code(*declare: Callable[[], Any]) -> Iterator[None]:
    """The code declares this meanwhile."""
    names, owners = set(registry), set(declaration._owners)
    try:
        for each in declare:
            each()
        yield
    finally:
        for name in set(registry) - names:
            del registry[name]
        for key in set(declaration._owners) - owners:
            del declaration._owners[key]


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    registered.clear()
    with InlineRuntime(now=START) as runtime:
        yield runtime
        runtime.settle()
        assert problems(runtime) == []


def problems(rt: InlineRuntime) -> list[str]:
    """What `understudy check` would say of the schedules."""
    view = MemoryView(rt._rows)
    with Reader(rt._path, view) as reader, view.read() as snapshot:
        check = ScheduleCheck(snapshot, reader.record)
        return [
            problem for key, row in snapshot.rows(Table.SCHEDULES) for problem in check.problems(key, row)
        ]


def set_clock(rt: InlineRuntime, seconds: float) -> None:
    """Set the wall clock forth or back by so many seconds."""
    rt._driver.epoch += seconds
    rt._driver.call(rt._world.loop, rt._world.core.clock_was_set)
    rt.settle()


def told_of(rt: Runtime, key: str | ScheduleInfo) -> list[tuple[float, str | None]]:
    """The history, oldest first: seconds since the start, and why it was skipped."""
    history = list(rt.schedule_history(key, limit=1_000))
    assert [each.number for each in history] == sorted((each.number for each in history), reverse=True)
    assert all((each.run_id is None) != (each.skipped is None) for each in history)
    return [(each.scheduled_at - START, each.skipped) for each in reversed(history)]


def test_a_run_has_the_time_that_it_was_due(rt: InlineRuntime):
    made = rt.schedule(told, "hello", every=60, jitter=30)
    rt.clock.advance(121)
    first, *_ = reversed(rt.schedule_history(made))
    assert first.run_id is not None
    assert tuple(rt.result(first.run_id)) == ("hello", START + 60)
    record = rt.status(first.run_id)
    assert record.kind == "schedule"
    assert (record.trigger.schedule, record.trigger.scheduled_at) == (made.key, START + 60)  # type: ignore[union-attr]
    assert 60 <= first.time - START <= 90
    assert [each.id for each in rt.search(f"schedule:{made.key}")][-1] == first.run_id


def test_single_times(rt: InlineRuntime):
    soon = rt.schedule(told, after=60)
    when = datetime.fromtimestamp(START + 90, UTC)
    at = rt.schedule(told, at=when, key="at")
    past = rt.schedule(told, at=START - HOUR)
    long_past = rt.schedule(told, at=START - 2 * DAY)
    skipped = rt.schedule(told, at=START - HOUR, missed="skip")
    rt.clock.advance(100)
    assert told_of(rt, soon) == [(60, None)]
    assert told_of(rt, at) == [(90, None)]
    assert told_of(rt, past) == [(-HOUR, None)]
    assert told_of(rt, long_past) == [(-2 * DAY, TOO_LATE)]
    assert told_of(rt, skipped) == [(-HOUR, MISSED)]
    assert rt.schedule_info("at").state == "ended"
    # What was due once at a time does not run again; what was due after a while does.
    rt.schedule(told, at=when, key="at")
    rt.schedule(told, after=60, key=soon.key)
    rt.clock.advance(100)
    assert told_of(rt, at) == [(90, None)]
    assert told_of(rt, soon) == [(60, None), (160, None)]


@pytest.mark.parametrize(
    ("overlap", "runs", "skips"),
    [
        ("skip", [(10, 10), (40, 40)], [20, 30, 50, 60]),
        ("queue", [(10, 10), (20, 35), (30, 60), (40, 85), (50, 110), (60, 135)], []),
        ("allow", [(10, 10), (20, 20), (30, 30), (40, 40), (50, 50), (60, 60)], []),
        ("cancel", [(10, 10), (20, 20), (30, 30), (40, 40), (50, 50), (60, 60)], []),
    ],
)
def test_overlap(rt: InlineRuntime, overlap: Any, runs: list[tuple[int, int]], skips: list[int]):
    made = rt.schedule(naps, 25, every=10, overlap=overlap, end=START + 60)
    rt.clock.advance(200)
    history = list(reversed(rt.schedule_history(made)))
    records = [rt.status(each.run_id) for each in history if each.run_id is not None]
    began = [
        (record.trigger.scheduled_at - START, record.started - START)  # type: ignore[union-attr, operator]
        for record in records
    ]
    assert [(due, round(start)) for due, start in began] == runs
    assert [each.scheduled_at - START for each in history if each.skipped == OVERLAP] == skips
    last = State.COMPLETED
    others = State.CANCELLED if overlap == "cancel" else State.COMPLETED
    assert [record.state for record in records] == [others] * (len(records) - 1) + [last]
    assert (rt.schedule_info(made).state, rt.schedule_info(made).active) == ("ended", ())


def test_a_queued_run_waits_over_a_crash_and_can_be_cancelled(rt: InlineRuntime):
    made = rt.schedule(naps, 25, every=10, overlap="queue", limit=3)
    rt.clock.advance(31)
    first, second, third = rt.schedule_info(made).active
    assert rt.status(second).next_attempt is None
    rt.crash()
    assert rt.cancel(second)
    rt.clock.advance(60)
    states = [rt.status(run).state for run in (first, second, third)]
    assert states == [State.COMPLETED, State.CANCELLED, State.COMPLETED]
    assert rt.schedule_info(made).active == ()


def test_what_fell_into_a_pause_does_not_run(rt: InlineRuntime):
    made = rt.schedule(told, every=10, key="p")
    rt.clock.advance(15)
    rt.pause_schedule("p")
    rt.pause_schedule("p")
    paused = rt.schedule_info("p")
    assert (paused.state, paused.next, paused.reason) == ("paused", None, "paused by request")
    assert [at - START for at in rt.next_times(made, 2)] == [20, 30]
    rt.clock.advance(30)
    assert rt.next_times("p", 1) == [START + 50]
    rt.crash()
    assert rt.schedule_info("p").state == "paused"
    # A new definition leaves it paused.
    rt.schedule(told, every=10, key="p", overlap="allow")
    rt.resume_schedule("p")
    rt.resume_schedule(made)
    rt.clock.advance(10)
    assert told_of(rt, "p") == [(10, None), (20, "paused"), (30, "paused"), (40, "paused"), (50, None)]


def test_failures_in_a_row_pause_it(rt: InlineRuntime):
    made = rt.schedule(fails, 3, every=10, pause_after=2)
    rt.clock.advance(60)
    info = rt.schedule_info(made)
    assert (info.state, info.reason, info.failures) == ("paused", "2 runs in a row have failed", 2)
    assert [each for _, each in told_of(rt, made)] == [None, None]
    rt.resume_schedule(made)
    rt.clock.advance(20)
    assert (rt.schedule_info(made).state, rt.schedule_info(made).failures) == ("active", 0)


def test_a_key_is_replaced_and_the_same_definition_keeps_its_times(rt: InlineRuntime):
    first = rt.schedule(told, "a", every=100, key="k")
    rt.clock.advance(50)
    assert rt.schedule(told, "b", every=100, key="k", limit=9).next == first.next
    assert rt.schedule(told, "b", cron="*/10 * * * *", key="k").next == START + 600
    other = rt.schedule(told, "c", every=300, key="k")
    assert other.next == START + 350
    rt.clock.advance(300)
    assert told_of(rt, "k") == [(350, None)]
    run = rt.schedule_history("k")[0].run_id
    assert run is not None
    assert rt.result(run)[0] == "c"


def test_limits_are_at_their_edge(rt: InlineRuntime):
    made = rt.schedule(told, every=10, limit=2)
    rt.clock.advance(100)
    info = rt.schedule_info(made)
    assert (info.state, info.runs, info.next) == ("ended", 2, None)
    for act in (rt.pause_schedule, rt.resume_schedule):
        with pytest.raises(InvalidOption, match="has ended"):
            act(made)
    assert not rt.cancel_schedule(made)
    with InlineRuntime(now=START, schedules=2) as small:
        keys = [small.schedule(told, every=10).key for _ in range(2)]
        with pytest.raises(
            InvalidOption, match="there are 2 schedules, and the limit of this supervisor is 2"
        ):
            small.schedule(told, every=10)
        small.schedule(told, every=20, key=keys[0])
        assert small.cancel_schedule(keys[0])
        small.schedule(told, every=10)
        assert [each.state for each in small.schedules()].count("ended") == 1


def test_run_now_and_backfill(rt: InlineRuntime):
    made = rt.schedule(naps, 5, every=HOUR, key="b")
    rt.clock.advance(HOUR + 10)
    rt.pause_schedule("b")
    run = rt.run_schedule("b")
    rt.clock.advance(4 * HOUR)
    rt.resume_schedule("b")
    rt.clock.advance(1)
    ids = rt.backfill(made, START, START + 4 * HOUR)
    assert rt.backfill(made, START, START + 4 * HOUR) == []
    rt.clock.advance(60)
    records = [rt.status(id) for id in ids]
    assert [record.trigger.scheduled_at - START for record in records] == [2 * HOUR, 3 * HOUR, 4 * HOUR]  # type: ignore[union-attr]
    starts = [record.started or 0.0 for record in records]
    assert [round(second - first) for first, second in itertools.pairwise(starts)] == [5, 5]
    by = {each.run_id: each.by for each in rt.schedule_history("b")}
    assert by[run] == "run"
    assert {by[id] for id in ids} == {"backfill"}
    with pytest.raises(InvalidOption, match="end must not be in the future"):
        rt.backfill("b", START, rt.clock.time() + 60)
    with pytest.raises(InvalidOption, match="start must not be after end"):
        rt.backfill("b", START + 60, START)
    busy = rt.schedule(told, every=1)
    rt.pause_schedule(busy)
    rt.clock.advance(1_100)
    with pytest.raises(InvalidOption, match="more than 1,000 occurrences"):
        rt.backfill(busy, START, rt.clock.time())


def test_a_cancelled_one_is_over_until_it_is_made_again(rt: InlineRuntime):
    made = rt.schedule(told, every=10)
    assert rt.cancel_schedule(made)
    rt.clock.advance(60)
    assert (rt.schedule_info(made).state, rt.schedule_info(made).reason) == ("ended", "cancelled")
    rt.schedule(told, every=10, key=made.key)
    rt.clock.advance(10)
    assert told_of(rt, made) == [(70, None)]


def test_what_cannot_be_scheduled_is_refused(rt: InlineRuntime):
    with pytest.raises(TypeError, match="told"):
        rt.schedule(told, 1, 2, 3, every=5)
    with pytest.raises(TypeError, match="evry"):
        rt.schedule(told, every=5, evry=3)
    with pytest.raises(UnknownTask):
        rt.schedule("nobody:knows", every=5)
    with pytest.raises(InvalidOption, match=r"key= of \.options"):
        rt.schedule(told.options(key="k"), every=5)
    with pytest.raises(InvalidOption, match="exactly one of"):
        rt.schedule(told)
    for call in (
        rt.schedule_info,
        rt.pause_schedule,
        rt.resume_schedule,
        rt.cancel_schedule,
        rt.run_schedule,
    ):
        with pytest.raises(ScheduleNotFound, match="no schedule has the key 'none'"):
            call("none")
    with pytest.raises(ScheduleNotFound):
        rt.backfill("none", START, START)
    rt.schedule(told, every=1, key="jobs:told")
    for call in (rt.schedule_info, rt.pause_schedule):
        with pytest.raises(ScheduleNotFound, match="Did you mean 'jobs:told'"):
            call("told")
    rt.cancel_schedule("jobs:told")
    with pytest.raises(InvalidOption, match="by its key or its ScheduleInfo"):
        rt.schedule_info(7)  # type: ignore[arg-type]


def test_a_task_schedules_what_belongs_to_its_stream(rt: InlineRuntime):
    info = rt.start(plans.options(metadata={"who": "me"}))
    assert rt.result(info) == "planned"
    rt.schedule(told.options(timeout=7, metadata={"who": "you"}), every=60, key="often")
    rt.clock.advance(60)
    (once,), (often,) = (rt.schedule_history(key) for key in ("planned", "often"))
    assert once.run_id is not None
    assert often.run_id is not None
    record = rt.status(once.run_id)
    assert (record.stream_id, record.origin_run) == (info.stream_id, info.id)
    record = rt.status(often.run_id)
    assert (record.stream_id, record.origin_run, record.metadata) == (record.id, None, {"who": "you"})


def test_lists_are_sorted_by_key_and_paged(rt: InlineRuntime):
    for key in ("c", "a", "b"):
        rt.schedule(told, every=10, key=key)
    rt.pause_schedule("b")
    assert [each.key for each in rt.schedules()] == ["a", "b", "c"]
    assert [each.key for each in rt.schedules(limit=1, after="a")] == ["b"]
    assert [each.key for each in rt.schedules(state="paused")] == ["b"]
    rt.clock.advance(55)
    page = rt.schedule_history("a", limit=2)
    assert [each.scheduled_at - START for each in page] == [50, 40]
    assert [each.scheduled_at - START for each in rt.schedule_history("a", before=page[-1])] == [30, 20, 10]


# --- the clock ---


@pytest.mark.parametrize(
    ("missed", "expected"),
    [
        (
            "once",
            [(HOUR, None), *((HOUR * n, SUPERSEDED) for n in (2, 3)), (4 * HOUR, None), (5 * HOUR, None)],
        ),
        ("skip", [(HOUR, None), *((HOUR * n, MISSED) for n in (2, 3, 4)), (5 * HOUR, None)]),
        ("all", [(HOUR * n, None) for n in range(1, 6)]),
    ],
)
def test_a_clock_that_is_set_forth_loses_nothing(
    rt: InlineRuntime, missed: Any, expected: list[tuple[float, str | None]]
):
    made = rt.schedule(told, cron="@hourly", missed=missed, overlap="allow")
    rt.clock.advance(HOUR + 60)
    set_clock(rt, 3 * HOUR)
    rt.clock.advance(HOUR)
    assert told_of(rt, made) == expected


def test_a_clock_that_is_set_back_repeats_nothing(rt: InlineRuntime):
    made = rt.schedule(told, cron="@hourly")
    steady = rt.schedule(told, every=HOUR)
    rt.clock.advance(3 * HOUR + 60)
    set_clock(rt, -2 * HOUR)
    rt.clock.advance(2 * HOUR)
    assert told_of(rt, made) == told_of(rt, steady) == [(HOUR * n, None) for n in (1, 2, 3)]
    rt.clock.advance(HOUR)
    assert told_of(rt, made) == told_of(rt, steady) == [(HOUR * n, None) for n in (1, 2, 3, 4)]


def test_a_weekend_of_seconds_is_told_and_the_last_1000_are_kept(rt: InlineRuntime):
    made = rt.schedule(told, every=1, missed="all", overlap="allow")
    set_clock(rt, 10_000)
    history = told_of(rt, made)
    assert history == [(at, None) for at in range(9_001, 10_001)]
    info = rt.schedule_info(made)
    assert (info.runs, info.skips) == (1_000, 9_000)


def test_hourly_jobs_outlive_restarts_every_minute(rt: InlineRuntime):
    hourly = rt.schedule(told, cron="@hourly", tz="Europe/Zurich")
    interval = rt.schedule(told, every=HOUR)
    for _ in range(3 * 60 + 2):
        rt.clock.advance(60)
        rt.crash()
    assert told_of(rt, hourly) == told_of(rt, interval) == [(HOUR, None), (2 * HOUR, None), (3 * HOUR, None)]


@pytest.mark.parametrize(
    "point",
    ["schedule.before", "schedule.after", "commit.before", "commit.after", "dispatch.before", "result.after"],
)
@pytest.mark.parametrize("overlap", ["allow", "queue", "cancel"])
def test_each_occurrence_is_told_once_though_the_supervisor_dies(rt: InlineRuntime, point: str, overlap: Any):
    made = rt.schedule(naps, 15, every=10, overlap=overlap, missed="all")
    for nth in (1, 2, 4):
        rt.crash_at(point, nth)
        rt.clock.advance(40)
    rt.pause_schedule(made)
    history = [at for at, _ in told_of(rt, made)]
    assert history == [10.0 * n for n in range(1, len(history) + 1)]
    assert len(history) >= 12
    runs = {each.run_id for each in rt.schedule_history(made) if each.run_id is not None}
    assert {each.id for each in rt.search(f"schedule:{made.key}", limit=100)} == runs


# --- what the code declares ---


def test_declared_ones_follow_the_code(rt: InlineRuntime):
    def at(expression: str) -> Callable[[], Any]:
        return lambda: cron(expression, key="nightly", missed="once")(task(name="nightly")(nightly))

    with code(at("0 2 * * *")):
        rt.crash()
        first = rt.schedule_info("nightly")
        assert (first.declared, first.state, first.next) == (True, "active", START + 2 * HOUR)
        rt.clock.advance(3 * HOUR)
        rt.crash()
        assert rt.schedule_info("nightly").next == START + DAY + 2 * HOUR
    # A changed expression counts from now on: it is 03:00, and nothing runs for 01:00.
    with code(at("0 1 * * *")):
        rt.crash()
        rt.settle()
        assert rt.schedule_info("nightly").next == START + DAY + HOUR
        assert told_of(rt, "nightly") == [(2 * HOUR, None)]
        rt.pause_schedule("nightly")
        rt.crash()
        assert rt.schedule_info("nightly").state == "paused"
        rt.resume_schedule("nightly")
        with pytest.raises(InvalidOption, match="pause it, or remove the declaration"):
            rt.cancel_schedule("nightly")
        with pytest.raises(InvalidOption, match="the code declares schedule nightly"):
            rt.schedule(told, every=5, key="nightly")
    # Gone: paused, and shown as orphaned. What falls into that time does not run.
    rt.crash()
    assert rt.schedule_info("nightly").state == "orphaned"
    rt.clock.advance(DAY)
    with code(at("0 1 * * *")):
        rt.crash()
        rt.settle()
        assert rt.schedule_info("nightly").state == "active"
        rt.clock.advance(DAY)
        why = "paused: the code did not declare it"
        assert told_of(rt, "nightly") == [(2 * HOUR, None), (DAY + HOUR, why), (2 * DAY + HOUR, None)]
    rt.crash()
    assert rt.cancel_schedule("nightly")
    assert rt.schedule_info("nightly").state == "ended"


def test_intervals_count_from_the_first_registration(rt: InlineRuntime):
    def often(seconds: float, **options: Any) -> Callable[[], Any]:
        return lambda: every(seconds, **options)(task(name="often")(nightly))

    with code(often(300)):
        rt.crash()
        for _ in range(4):
            rt.clock.advance(100)
            rt.crash()
        assert told_of(rt, "often") == [(300, None)]
    with code(often(300, overlap="allow")):
        rt.crash()
        assert rt.schedule_info("often").next == START + 600
    with code(often(200)):
        rt.crash()
        assert rt.schedule_info("often").next == START + 600


def test_what_was_missed_under_the_old_definition_is_told(rt: InlineRuntime):
    made = rt.schedule(told, every=10, key="k")
    rt.pause_schedule(made)
    rt.clock.advance(25)
    rt.schedule(told, every=100, key="k")
    assert told_of(rt, "k") == [(10, CHANGED), (20, CHANGED)]
    rt.resume_schedule("k")
    rt.clock.advance(100)
    assert told_of(rt, "k")[-1] == (125, None)


def test_a_program_can_have_no_key_of_the_code_and_the_code_takes_any(rt: InlineRuntime):
    rt.schedule(told, "x", every=10, key="taken")
    with code(lambda: cron("@daily", key="taken")(task(name="takes")(nightly))):
        rt.crash()
        info = rt.schedule_info("taken")
        assert (info.declared, info.task, info.next) == (True, "takes", START + DAY)
        rt.clock.advance(DAY)
        run = rt.schedule_history("taken")[0].run_id
        assert run is not None
        assert rt.result(run) == START + DAY


def test_two_schedules_of_one_key_are_refused_where_they_are_written():
    with (
        code(lambda: cron("@daily", key="one")(task(name="one")(nightly))),
        pytest.raises(InvalidTask, match="two schedules have the key one"),
    ):
        every(5, key="one")(task(name="two")(alarmed_too))


def alarmed_too() -> None: ...


# --- events, and the end ---


def test_a_skip_is_an_event_where_a_handler_wants_it():
    with (
        code(lambda: on("understudy.schedule.*")(task(name="alarmed")(alarmed))),
        InlineRuntime(now=START) as rt,
    ):
        made = rt.schedule(naps, 25, every=10, end=START + 30, key="skips")
        rt.clock.advance(60)
        events = [event.data for event in reversed(rt.events(name="understudy.schedule.skipped"))]
        common = {"schedule": "skips", "task": made.task, "reason": OVERLAP, "count": 1}
        assert events == [{**common, "scheduled_at": START + at, "first": START + at} for at in (20, 30)]
        assert len(rt.events(name="alarmed")) == 2
        failing = rt.schedule(fails, 9, every=10, pause_after=1)
        rt.clock.advance(10)
        (paused,) = rt.events(name="understudy.schedule.paused")
        assert paused.data == {"schedule": failing.key, "task": failing.task, "failures": 1}


def test_without_a_handler_a_skip_is_no_event(rt: InlineRuntime):
    rt.schedule(naps, 25, every=10, end=START + 30)
    rt.clock.advance(60)
    assert list(rt.events(name="understudy.**")) == []


def test_ended_ones_are_pruned_with_their_history():
    with InlineRuntime(now=START, schedule_keep=HOUR) as rt:
        made = rt.schedule(told, every=1, limit=5)
        kept = rt.schedule(told, every=DAY)
        rt.clock.advance(HOUR)
        assert rt.schedule_info(made).state == "ended"
        rt.clock.advance(2 * HOUR)
        rt.prune()
        assert [each.key for each in rt.schedules()] == [kept.key]
        kinds = Counter(key[0] for key, _ in rt._rows.scan(Table.SCHEDULES))
        assert kinds == {1: 1, 2: 1, 6: 1}
        with pytest.raises(ScheduleNotFound):
            rt.schedule_history(made)
        with pytest.raises(ScheduleNotFound):
            rt.pause_schedule(made)
        # Its key is new again.
        assert rt.schedule(told, every=1, limit=5, key=made.key).runs == 0


def test_an_action_that_is_refused_changes_nothing(rt: InlineRuntime):
    made = rt.schedule(told, every=HOUR)
    before = rt.schedule_info(made)
    for _ in range(2):
        with pytest.raises(InvalidOption, match="future"):
            rt.backfill(made, START, START + DAY)
    rt.cancel_schedule(made)
    for act in (rt.pause_schedule, rt.resume_schedule):
        with pytest.raises(InvalidOption, match="has ended"):
            act(made)
    assert rt.schedule_info(made).created == before.created
    assert not rt.schedule_info(made).runs

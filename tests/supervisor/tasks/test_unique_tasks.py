"""Unique tasks, with a virtual clock: which of them has a text, over ends, windows, crashes and clock changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from understudy import (
    Event,
    InvalidOption,
    NotUnique,
    Retry,
    TaskNotFound,
    UnknownTask,
    on,
    receive,
    sleep,
    task,
)
from understudy.storage.check import _Rows
from understudy.storage.memory_store import MemoryView
from understudy.storage.tables.schema import Table
from understudy.storage.tables.unique_rows import UNIQUE
from understudy.testing import InlineRuntime

#: The arguments with which the tasks here have begun, in order, with the time.
BEGUN: list[tuple[Any, float]] = []
CLOCK: list[InlineRuntime] = []
NOW = 1_700_000_000


def begin(what: Any) -> None:
    BEGUN.append((what, CLOCK[0].clock.time() - NOW))


@task(unique=True)
def unique_sync(name: str, count: int = 1, *more: int, seconds: float = 10.0, **rest: int) -> str:
    begin(name)
    sleep(seconds)
    return name


@task(unique=True, unique_by="document", on_conflict="replace")
def unique_index(document: str, version: int) -> int:
    begin((document, version))
    sleep(10)
    return version


@task(unique=60, unique_by=())
def unique_hourly(value: object = None) -> object:
    begin(value)
    return value


@task(unique=60, unique_by=(), on_conflict="replace")
def unique_throttled(value: int) -> int:
    begin(value)
    return value


@task(unique=True, on_conflict="raise", retry=Retry(attempts=1, delay=100))
def unique_failing(name: str) -> None:
    begin(name)
    raise ValueError("again")


@task(unique=True)
def unique_fails_late(name: str) -> None:
    begin(name)
    sleep(10)
    raise ValueError("late")


@task
def unique_plain(name: str) -> str:
    begin(name)
    sleep(10)
    return name


@task(unique=True)
def unique_open() -> None:
    begin("open")
    receive()


@on("unique.saved", unique=True, unique_by=(), on_conflict="replace")
def unique_on_saved(event: Event) -> int:
    begin(event.data["version"])
    sleep(10)
    return int(event.data["version"])


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    BEGUN.clear()
    with InlineRuntime(now=NOW) as runtime:
        CLOCK[:] = [runtime]
        yield runtime
        runtime.settle()
        assert problems(runtime) == []


def problems(rt: InlineRuntime) -> list[str]:
    with MemoryView(rt._rows).read() as snapshot:
        return _Rows(snapshot, None).report().problems


def rows(rt: InlineRuntime) -> int:
    """The rows of texts on disk."""
    rt.settle()
    return sum(key.startswith(UNIQUE) for key, _ in rt._rows.scan(Table.ACTORS))


def what() -> list[Any]:
    return [name for name, _ in BEGUN]


# --- while one has not ended ---


def test_a_second_start_returns_the_one_that_is_there(rt: InlineRuntime):
    first = rt.start(unique_sync, "a")
    second = rt.start(unique_sync, "a")
    other = rt.start(unique_sync, "b")
    assert (first.existing, second.existing, other.existing) == (False, True, False)
    assert second.id == first.id != other.id
    assert (second.task, second.stream_id) == (first.task, first.stream_id)
    assert first.status().unique_key == '["a", …, …]'
    assert list(rt.results([first, other], timeout=60)) == ["a", "b"]
    assert what() == ["a", "b"]
    third = rt.start(unique_sync, "a")
    assert not third.existing
    assert third.id != first.id
    assert rt.result(third, timeout=60) == "a"
    assert rows(rt) == 0
    assert first.status().unique_key == '["a", …, …]'


def test_arguments_by_place_and_by_name_are_the_same(rt: InlineRuntime):
    same = [rt.start(unique_sync, "a", 2), rt.start(unique_sync, name="a", count=2)]
    assert len({info.id for info in same}) == 1
    others = [
        rt.start(unique_sync, "a"),
        rt.start(unique_sync, "a", 2, 3),
        rt.start(unique_sync, "a", 2, more=3),
        rt.start(unique_sync, "a", 2, seconds=5.0),
        rt.start(unique_sync, "2", "a"),  # type: ignore[arg-type]
    ]
    assert not any(info.existing for info in others)


def test_a_set_is_the_same_in_any_order(rt: InlineRuntime):
    letters = [chr(97 + n) for n in range(26)]
    backwards = dict.fromkeys(reversed(letters), 1).keys() | set()
    task = unique_hourly.options(unique=True, unique_by="value", delay=5)
    first = rt.start(task, {"some": set(letters)})
    again = rt.start(task, {"some": backwards})
    assert again.existing
    assert not rt.start(task, {"some": sorted(letters)}).existing
    assert first.id == again.id


@pytest.mark.parametrize("how", ["delayed", "running", "retried", "parked"])
def test_whatever_has_not_ended_is_there(rt: InlineRuntime, how: str):
    started: Any = unique_sync
    args: tuple[Any, ...] = ("a",)
    if how == "delayed":
        first = rt.start(unique_sync.options(delay=1000), "a")
    elif how == "retried":
        started = unique_failing.options(on_conflict="return")
        first = rt.start(unique_failing, "a")
        rt.clock.advance(50)
        assert first.status().waits_for == "time"
    elif how == "parked":
        started, args = unique_open, ()
        first = rt.start(unique_open)
        rt.settle()
    else:
        first = rt.start(unique_sync, "a", seconds=1000.0)
        rt.settle()
    kwargs = {"seconds": 1000.0} if how == "running" else {}
    assert rt.start(started, *args, **kwargs).id == first.id
    rt.crash()
    assert rt.start(started, *args, **kwargs).id == first.id
    first.cancel()
    first.wait(timeout=100)
    assert not rt.start(started, *args, **kwargs).existing


def test_raise_names_the_one_that_is_there(rt: InlineRuntime):
    first = rt.start(unique_failing, "a")
    with pytest.raises(NotUnique, match=r'is unique, and task .* has its key "a": it is') as caught:
        rt.start(unique_failing, "a")
    assert caught.value.id == first.id
    with pytest.raises(NotUnique):
        rt.start_many(unique_failing, ["b", "a"])
    rt.settle()
    assert what() == ["a"]
    with pytest.raises(NotUnique, match="two calls"):
        rt.start_many(unique_failing, ["b", "b"])
    assert [info.existing for info in rt.start_many(unique_failing, ["b", "c"])] == [False, False]


def test_start_many_starts_one_of_each_text(rt: InlineRuntime):
    infos = rt.start_many(unique_sync, ["a", "b", "a", "a", "c"])
    assert [info.existing for info in infos] == [False, False, True, True, False]
    assert len({info.id for info in infos}) == 3
    assert infos[0].id == infos[2].id == infos[3].id
    assert list(rt.results(infos, timeout=60)) == ["a", "b", "a", "a", "c"]
    assert what() == ["a", "b", "c"]


def test_run_waits_for_the_one_that_is_there(rt: InlineRuntime):
    first = rt.start(unique_sync, "a")
    assert rt.run(unique_sync, "a", timeout=60) == "a"
    assert first.status().state == "completed"
    assert what() == ["a"]
    assert rt.run(unique_sync, "a", timeout=60) == "a"
    assert what() == ["a", "a"]


def test_a_key_of_the_start_takes_the_place_of_the_arguments(rt: InlineRuntime):
    first = rt.start(unique_sync.options(unique_key="k"), "a")
    second = rt.start(unique_sync.options(unique_key="k"), "b")
    assert second.id == first.id
    assert first.status().unique_key == "k"
    assert not rt.start(unique_sync, "a").existing
    assert not rt.start(unique_sync.options(unique_key="l"), "a").existing


def test_options_of_one_start_make_it_unique(rt: InlineRuntime):
    plain = unique_plain
    first = rt.start(plain.options(unique=True), "a")
    assert rt.start(plain.options(unique=True), "a").id == first.id
    assert rt.start(plain, "a").id != first.id
    assert rt.start(unique_sync.options(unique=False), "a").status().unique_key is None
    by_name = rt.start(f"{plain.name}", "b")
    assert not by_name.existing


def test_an_idempotency_key_is_looked_at_first(rt: InlineRuntime):
    first = rt.start(unique_sync.options(key="once"), "a")
    assert rt.start(unique_sync.options(key="once"), "b").id == first.id
    second = rt.start(unique_sync.options(key="twice"), "a")
    assert second.id == first.id
    rt.result(first, timeout=60)
    # The key was not given to the task that was there.
    assert not rt.start(unique_sync.options(key="twice"), "a").existing


# --- replace ---


def test_replace_gives_a_queued_one_the_new_arguments_and_delay(rt: InlineRuntime):
    later = unique_index.options(delay=5)
    first = rt.start(later, "d", 1)
    rt.clock.advance(3)
    second = rt.start(later, "d", 2)
    rt.clock.advance(3)
    third = rt.start(later, "d", 3)
    other = rt.start(later, "e", 1)
    assert first.id == second.id == third.id != other.id
    assert (second.existing, third.existing, other.existing) == (True, True, False)
    assert first.status().args == ["d", 3]
    assert rt.result(first, timeout=60) == 3
    assert BEGUN[0] == (("d", 3), 11)
    assert rt.result(other, timeout=60) == 1
    rt.settle()
    assert rows(rt) == 0


def test_replace_without_a_delay_lets_it_begin_at_once(rt: InlineRuntime):
    first = rt.start(unique_index.options(delay=500), "d", 1)
    assert rt.start(unique_index, "d", 2).id == first.id
    assert rt.result(first, timeout=15) == 2


def test_replace_of_one_that_has_begun_waits_for_its_end(rt: InlineRuntime):
    first = rt.start(unique_index, "d", 1)
    rt.clock.advance(4)
    second = rt.start(unique_index, "d", 2)
    assert not second.existing
    assert second.status().waits_for == "unique"
    assert second.status().next_attempt is None
    third = rt.start(unique_index, "d", 3)
    assert third.id == second.id != first.id
    rt.crash()
    assert rt.result(first, timeout=60) == 1
    assert rt.result(second, timeout=60) == 3
    assert what() == [("d", 1), ("d", 1), ("d", 3)]
    assert BEGUN[-1][1] == BEGUN[1][1] + 10
    assert rows(rt) == 0


def test_one_that_waits_keeps_its_own_delay(rt: InlineRuntime):
    first = rt.start(unique_index, "d", 1)
    rt.settle()
    second = rt.start(unique_index.options(delay=30), "d", 2)
    assert rt.result(first, timeout=60) == 1
    assert rt.result(second, timeout=60) == 2
    assert BEGUN[-1] == (("d", 2), 30)


def test_when_the_one_that_waits_is_cancelled_the_other_has_the_text(rt: InlineRuntime):
    first = rt.start(unique_index, "d", 1)
    rt.settle()
    second = rt.start(unique_index, "d", 2)
    assert second.cancel()
    assert rt.start(unique_index.options(on_conflict="return"), "d", 3).id == first.id
    rt.result(first, timeout=60)
    assert rows(rt) == 0


def test_the_last_of_equal_calls_in_one_start_counts(rt: InlineRuntime):
    infos = rt.start_many(unique_index, [("d", 1), ("e", 1), ("d", 2)])
    assert infos[0].id == infos[2].id
    assert rt.result(infos[0], timeout=60) == 2
    again = rt.start(unique_index.options(delay=5), "f", 1)
    infos = rt.start_many(unique_index, [("f", 2), ("f", 3)])
    assert {info.id for info in infos} == {again.id}
    assert rt.result(again, timeout=60) == 3


def test_arguments_that_replace_others_are_checked(rt: InlineRuntime):
    rt.start(unique_index.options(delay=5), "d", 1)
    with pytest.raises(TypeError):
        rt.start(unique_index, "d")  # type: ignore[call-arg]


# --- for a time ---


def test_a_window_counts_from_the_start(rt: InlineRuntime):
    first = rt.start(unique_hourly, 1)
    assert rt.result(first, timeout=1) == 1
    rt.clock.advance(59)
    assert rt.start(unique_hourly, 2).id == first.id
    rt.crash()
    assert rt.start(unique_hourly, 2).id == first.id
    rt.clock.advance(2)
    second = rt.start(unique_hourly, 3)
    assert second.id != first.id
    assert rt.result(second, timeout=1) == 3
    assert what() == [1, 3]


def test_a_window_outlives_the_record_and_its_rows_go(rt: InlineRuntime):
    first = rt.start(unique_hourly.options(keep=1), 1)
    rt.result(first, timeout=1)
    rt.clock.advance(10)
    rt.prune()
    with pytest.raises(TaskNotFound):
        first.status()
    second = rt.start(unique_hourly, 2)
    assert (second.id, second.existing) == (first.id, True)
    rt.prune(all=True)
    assert rt.start(unique_hourly, 2).id == first.id
    assert rows(rt) == 2
    rt.clock.advance(60)
    rt.prune()
    assert rows(rt) == 0
    assert not rt.start(unique_hourly, 2).existing


def test_a_window_that_is_over_goes_with_the_end_of_its_task(rt: InlineRuntime):
    first = rt.start(unique_open.options(unique=60))
    rt.clock.advance(100)
    rt.prune()
    assert rows(rt) == 1
    second = rt.start(unique_open.options(unique=60))
    assert second.id != first.id
    first.cancel()
    second.cancel()
    rt.clock.advance(100)
    rt.prune()
    assert rows(rt) == 0


def test_what_replaces_a_start_within_a_window_waits_for_the_end_of_the_window(rt: InlineRuntime):
    first = rt.start(unique_throttled, 1)
    rt.result(first, timeout=1)
    rt.clock.advance(20)
    second = rt.start(unique_throttled, 2)
    third = rt.start(unique_throttled, 3)
    assert second.id == third.id != first.id
    assert not second.existing
    assert rt.result(second, timeout=100) == 3
    fourth = rt.start(unique_throttled, 4)
    rt.result(fourth, timeout=100)
    assert BEGUN == [(1, 0), (3, 60), (4, 120)]


def test_one_cancelled_before_its_window_leaves_the_window_before(rt: InlineRuntime):
    first = rt.start(unique_throttled, 1)
    rt.clock.advance(20)
    second = rt.start(unique_throttled, 2)
    second.cancel()
    assert rt.start(unique_throttled.options(on_conflict="return"), 3).id == first.id
    rt.clock.advance(41)
    assert not rt.start(unique_throttled.options(on_conflict="return"), 3).existing


def test_a_clock_that_is_set_back_does_not_make_a_window_longer_than_it_says(rt: InlineRuntime):
    first = rt.start(unique_hourly, 1)
    rt._driver.epoch -= 100_000
    assert rt.start(unique_hourly, 2).id == first.id
    rt.clock.advance(61)
    assert not rt.start(unique_hourly, 3).existing


def test_the_declaration_of_the_new_start_counts(rt: InlineRuntime):
    first = rt.start(unique_hourly, 1)
    rt.result(first, timeout=1)
    rt.clock.advance(10)
    assert rt.start(unique_hourly.options(unique=11), 2).id == first.id
    assert rt.start(unique_hourly.options(unique=True), 2).id != first.id


# --- other ways to start ---


def test_a_retry_takes_the_text_or_is_refused(rt: InlineRuntime):
    first = rt.start(unique_fails_late, "a")
    assert first.wait(timeout=20).state == "failed"
    again = rt.retry(first)
    assert again.status().unique_key == '"a"'
    with pytest.raises(NotUnique) as caught:
        rt.retry(first)
    assert caught.value.id == again.id
    assert rt.start(unique_fails_late, "a").id == again.id
    assert rt.retry_where("state:failed") == 0
    again.wait(timeout=20)
    assert rt.retry_where("state:failed") == 1


def test_a_retry_within_its_own_window(rt: InlineRuntime):
    first = rt.start(unique_hourly, 1)
    rt.result(first, timeout=1)
    again = rt.retry(first)
    assert rt.result(again, timeout=1) == 1
    assert rt.start(unique_hourly, 2).id == again.id


def test_occurrences_of_a_schedule_are_skipped(rt: InlineRuntime):
    first = rt.start(unique_sync, "a", seconds=100.0)
    schedule = rt.schedule(unique_sync, "a", seconds=100.0, every=30, overlap="allow")
    rt.clock.advance(95)
    (skip, *_) = rt.schedule_history(schedule)
    assert skip.skipped == "unique: another task has its key"
    with pytest.raises(NotUnique) as caught:
        rt.run_schedule(schedule)
    assert caught.value.id == first.id
    first.wait(timeout=60)
    assert what() == ["a"]
    rt.clock.advance(100)
    assert what() == ["a", "a"]


def test_a_handler_has_one_run_and_one_that_waits(rt: InlineRuntime):
    one = rt.emit("unique.saved", {"version": 1})
    rt.settle()
    two, three = rt.emit("unique.saved", {"version": 2}), rt.emit("unique.saved", {"version": 3})
    assert len({one.runs[0], two.runs[0]}) == 2
    assert two.runs[0] == three.runs[0]
    many = rt.emit_many([("unique.saved", {"version": n}) for n in (4, 5)])
    assert {each.runs[0] for each in many} == {two.runs[0]}
    assert rt.result(one.runs[0], timeout=60) == 1
    assert rt.result(two.runs[0], timeout=60) == 5
    assert what() == [1, 5]


# --- bad ones are refused early ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unique": "yes"}, "unique, unless it is True or False, must be seconds"),
        ({"unique": 0}, "unique, unless"),
        ({"unique": -1.0}, "unique, unless"),
        ({"unique": 1e12}, "unique, unless"),
        ({"unique": None}, "unique, unless"),
        ({"unique": True, "on_conflict": "ignore"}, "on_conflict must be"),
        ({"on_conflict": "raise"}, "on_conflict= is for a unique task"),
        ({"unique_by": "name"}, "unique_by= is for a unique task"),
        ({"unique": True, "unique_by": "nane"}, "unique_by names 'nane', and .* has the parameters name"),
        ({"unique": True, "unique_by": 7}, "unique_by must be"),
        ({"unique_key": "k"}, "unique_key= is for a unique task"),
        ({"unique": True, "unique_key": ""}, "unique_key must be"),
        ({"unique": True, "unique_key": "k" * 256}, "unique_key must be"),
    ],
)
def test_bad_options_are_refused_where_they_are_written(options: dict[str, Any], message: str):
    with pytest.raises(InvalidOption, match=message):
        unique_plain.options(**options)
    if "unique_key" not in options:
        with pytest.raises(InvalidOption, match=message):
            task(**options)(unique_plain.body)


def test_bad_options_of_a_task_known_by_name_are_refused_at_the_start(rt: InlineRuntime):
    from understudy.actors.task.declaration import Task
    from understudy.actors.task.options import Options

    named = Task(None, unique_plain.name, Options())
    for options, message in (
        ({"unique_key": "k"}, "are for a unique task"),
        ({"on_conflict": "raise"}, "are for a unique task"),
        ({"unique": True, "unique_by": "nane"}, "unique_by names 'nane'"),
    ):
        with pytest.raises(InvalidOption, match=message):
            rt.start(named.options(**options), "a")
    with pytest.raises(UnknownTask):
        rt.start(Task(None, "nowhere:task", Options()).options(unique=True))
    with pytest.raises(InvalidOption, match="one unique_key"):
        rt.start_many(unique_sync.options(unique_key="k"), ["a", "b"])

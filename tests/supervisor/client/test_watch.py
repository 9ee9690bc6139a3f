"""Publishing and watching on one runtime that these tests share; kills are in tests/scenarios/test_watching.py.

Most of these stories run inline, and on real processes as well.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import item_tasks as app
from leftovers import left_behind, ours
from understudy import (
    AsyncRuntime,
    EventNotFound,
    InvalidOption,
    NotInTask,
    RemoteError,
    Runtime,
    State,
    TaskInfo,
    TaskNotFound,
    WatchEntry,
    publish,
)
from understudy.testing import InlineRuntime
from waiting import until

PATIENCE = 30.0
LIMITS = {"value_limit": 100_000, "stream_items": 10, "workers": 1, "durability": "os"}


@pytest.fixture(autouse=True)
def leaves_no_process() -> None:
    """Not after each test: workers come and go while the tests share a supervisor. See `real`."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    before = ours()
    with Runtime(home, app="item_tasks", drain=1.0, **LIMITS) as runtime:
        yield runtime
    assert left_behind(before, [home]) == []


@pytest.fixture(scope="module", params=["inline", "processes"])
def rt(request: pytest.FixtureRequest) -> Iterator[Runtime]:
    if request.param == "processes":
        yield request.getfixturevalue("real")
        return
    with InlineRuntime(**LIMITS) as runtime:
        yield runtime


def watched(rt: Runtime, info: TaskInfo[Any] | str, after: str | None = None) -> list[WatchEntry]:
    """All entries of a task, up to its end."""
    entries = []
    with rt.watch(task=info, after=after) as watch:
        while (entry := watch.next(timeout=PATIENCE)) is not None:
            entries.append(entry)
    return entries


def short(entries: list[WatchEntry]) -> list[Any]:
    return [
        (each.name, each.value) if each.kind == "item" else each.name if each.kind == "end" else each.kind
        for each in entries
        if each.kind != "log"
    ]


def test_a_watch_ends_with_its_task(rt: Runtime) -> None:
    info = rt.start(app.tokens, 3)
    entries = watched(rt, info)
    assert short(entries) == ["snapshot", ("token", 0), ("token", 1), ("token", 2), "completed"]
    assert [each.number for each in entries if each.kind == "item"] == [1, 2, 3]
    assert {each.stream_id for each in entries} == {info.stream_id}
    assert {each.task_id for each in entries} == {info.id}
    assert [each.kind for each in watched(rt, info, entries[-1].cursor)] == ["snapshot"]
    assert entries[0].snapshot is not None
    assert entries[-1].as_dict()["state"] == "completed"


def test_attempts_and_every_cursor(rt: Runtime) -> None:
    info = rt.start(app.twice, 4)
    entries = watched(rt, info)[1:]
    first = [("token", 0), ("token", 1), ("token", 2), "attempt"]
    assert short(entries) == [*first, *(("token", n) for n in range(4)), "completed"]
    assert [each.attempt for each in entries if each.kind == "item"] == [1] * 3 + [2] * 4
    (over,) = [each for each in entries if each.kind == "attempt"]
    assert (over.name, over.error is not None and over.error.type) == ("retry", "OSError")
    for number, entry in enumerate(entries, 1):
        assert watched(rt, info, entry.cursor)[1:] == entries[number:]
    # A stream's watch has the same sequence.
    with rt.watch(stream=info.stream_id) as watch:
        assert [watch.next(timeout=PATIENCE) for _ in range(1 + len(entries))][1:-1] == entries[:-1]


def test_lines_stand_where_they_were_printed(real: Runtime) -> None:
    entries = watched(real, real.start(app.twice, 2))
    texts = [
        each.text if each.kind == "log" else each.value for each in entries if each.kind in ("log", "item")
    ]
    assert texts == ["line 0", 0, "line 1", 1, "--- attempt 2 of 3 ---", "line 0", 0, "line 1", 1]


def test_a_silent_task(rt: Runtime) -> None:
    info = rt.start(app.silent)
    entries = watched(rt, info)
    assert short(entries) == ["snapshot", "completed"]
    assert short(watched(rt, info, entries[-1].cursor)) == ["snapshot"]
    assert short(watched(rt, info, entries[0].cursor)) == ["snapshot", "completed"]


def ends_of(rt: Runtime, stream: str, count: int, after: str | None = None) -> list[WatchEntry]:
    """So many ends of tasks, which must be all that happened in a stream."""
    with rt.watch(stream=stream, after=after) as watch:
        entries = [watch.next(timeout=PATIENCE) for _ in range(1 + count)][1:]
        with pytest.raises(TimeoutError):
            watch.next(timeout=0.3 if isinstance(rt, InlineRuntime) else 0)
    assert {entry.kind for entry in entries if entry is not None} <= {"end"}
    return [entry for entry in entries if entry is not None]


def test_a_stream_has_the_ends_of_silent_tasks(rt: Runtime) -> None:
    parent = rt.start(app.brings_up, 3)
    assert parent.result(timeout=PATIENCE) == 3
    ends = ends_of(rt, parent.stream_id, 4)
    assert len({end.task_id for end in ends}) == 4
    assert ends[-1].task_id == parent.id
    for number, end in enumerate(ends, 1):
        assert ends_of(rt, parent.stream_id, 4 - number, end.cursor) == ends[number:]
        # The cursor of one task's end is no end of another one.
        for other in ends[number:]:
            assert [each.task_id for each in watched(rt, other.task_id or "", end.cursor)[1:]] == [
                other.task_id
            ]
    alone = rt.start(app.silent)
    alone.result(timeout=PATIENCE)
    (end,) = ends_of(rt, alone.stream_id, 1)
    assert (end.task_id, end.name) == (alone.id, "completed")
    assert ends_of(rt, alone.stream_id, 0, end.cursor) == []
    # What comes later stands behind it.
    late = rt.start(app.silent.options(stream_id=alone.stream_id))
    late.result(timeout=PATIENCE)
    assert [each.task_id for each in ends_of(rt, alone.stream_id, 2)] == [alone.id, late.id]
    assert [each.task_id for each in ends_of(rt, alone.stream_id, 1, end.cursor)] == [late.id]


@pytest.mark.parametrize(("name", "runs"), [("quiet.one", 1), ("quiet.two", 2), ("quiet.again", 3)])
def test_a_stream_has_the_ends_of_silent_handlers(rt: Runtime, name: str, runs: int) -> None:
    made = rt.emit(name)
    for run in made.runs:
        rt.result(run, timeout=PATIENCE)
    ends = ends_of(rt, made.stream_id, runs)
    assert {end.task_id for end in ends} >= set(made.runs)
    for number, end in enumerate(ends, 1):
        assert ends_of(rt, made.stream_id, runs - number, end.cursor) == ends[number:]
    again = rt.replay(made.id)
    for run in again.runs:
        rt.result(run, timeout=PATIENCE)
    assert ends_of(rt, made.stream_id, 2 * runs)[:runs] == ends


def test_the_first_of_a_stream_ends_after_others_have_come(rt: Runtime) -> None:
    first = rt.start(app.waits_silently)
    late = rt.start(app.silent.options(stream_id=first.stream_id))
    late.result(timeout=PATIENCE)
    rt.emit("nobody.cares", stream_id=first.stream_id)
    rt.close(first.id)
    first.result(timeout=PATIENCE)
    assert [each.task_id for each in ends_of(rt, first.stream_id, 2)] == [late.id, first.id]


def test_one_commit_has_all_of_a_checkpoint(rt: Runtime) -> None:
    info = rt.start(app.steps, 2)
    assert [entry for entry in short(watched(rt, info)) if entry[0] != "try"][1:] == [
        ("step", 1), ("double", 2), ("step", 2), ("double", 4), "completed",
    ]  # fmt: skip


def test_coroutines_and_an_event_of_a_checkpoint(rt: Runtime) -> None:
    info = rt.start(app.from_coroutines)
    names = short(watched(rt, info))
    assert sorted(names[1:4]) == [("coroutine", 0), ("coroutine", 1), ("coroutine", 2)]
    assert names[4:] == [("plain", None), ("checkpoint", 1), "completed"]
    event = rt.event("item/1")
    assert (event.name, event.stream_id, event.origin_run) == ("item.made", info.stream_id, info.id)
    ((_, run),) = event.runs
    assert short(watched(rt, run)) == ["snapshot", ("handled", {"n": 1}), "completed"]
    with rt.watch(stream=info.stream_id) as watch:
        assert watch.next() is not None
        found: list[Any] = []
        while ("handled", {"n": 1}) not in found:
            entry = watch.next(timeout=PATIENCE)
            assert entry is not None
            found.append((entry.name, entry.value))


def test_threads_of_a_task(real: Runtime) -> None:
    items = [each for each in watched(real, real.start(app.from_threads)) if each.kind == "item"]
    assert sorted(each.value for each in items) == list(range(5))
    assert [each.number for each in items] == list(range(1, 6))


def test_actors_publish_with_the_commit_of_the_message(rt: Runtime) -> None:
    purse = rt.actor(app.Purse)
    proxy = purse.proxy()
    assert proxy.add(3).get(timeout=PATIENCE) == 3
    with pytest.raises((ValueError, RemoteError)):
        proxy.add(-1).get(timeout=PATIENCE)
    assert proxy.add(4).get(timeout=PATIENCE) == 6
    assert proxy.peek().get(timeout=PATIENCE) == 6
    purse.stop(timeout=PATIENCE)
    assert short(watched(rt, purse.id)) == [
        "snapshot",
        ("sum", 3),
        ("sum", 2),
        ("sum", 6),
        ("peek", 6),
        "completed",
    ]


def test_a_stream_has_all_that_its_task_starts(rt: Runtime) -> None:
    info = rt.start(app.parent)
    child = info.result(timeout=PATIENCE)
    with rt.watch(stream=info.stream_id) as watch:
        entries: list[WatchEntry] = []
        while not any(each.kind == "end" and each.task_id == info.id for each in entries):
            entry = watch.next(timeout=PATIENCE)
            assert entry is not None
            entries.append(entry)
        with pytest.raises(TimeoutError):
            watch.next(timeout=0)
    items = [(each.task_id, each.name, each.value) for each in entries if each.kind == "item"]
    assert items[:3] == [(info.id, "parent", 1), (child, "token", 0), (child, "token", 1)]
    assert items[3][1:] == ("sum", 5)
    assert [each.number for each in entries if each.kind == "item"] == [1, 2, 3, 4]
    tree = entries[0].snapshot
    assert tree is not None
    assert tree.as_dict()


def test_a_reader_that_lags_is_told_how_much_it_has_missed(rt: Runtime) -> None:
    info = rt.start(app.on_demand)
    with rt.watch(task=info) as watch:
        assert watch.next(timeout=PATIENCE) is not None
        for n in range(35):
            rt.send(info, n)
        rt.close(info.id)
        info.result(timeout=PATIENCE)
        left = []
        while (entry := watch.next(timeout=PATIENCE)) is not None:
            left.append(entry)
    assert (left[0].kind, left[0].items) == ("notice", 25)
    assert short(left[1:]) == [*(("message", n) for n in range(25, 35)), "completed"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("name", "InvalidOption"),
        ("long", "InvalidOption"),
        ("type", "InvalidOption"),
        ("value", "UnencodableValue"),
        ("size", "ValueTooLarge"),
        ("pairs", "InvalidOption"),
        ("emit", "InvalidOption"),
    ],
)
def test_bad_input_is_refused_where_it_is_written(rt: Runtime, kind: str, error: str) -> None:
    info = rt.start(app.bad_input, kind)
    entries = watched(rt, info)
    assert short(entries) == ["snapshot", "failed"]
    failed = info.status().error
    assert failed is not None
    assert failed.type == error


def test_a_checkpoint_that_is_refused_publishes_and_emits_nothing(rt: Runtime) -> None:
    info = rt.start(app.bad_input, "send")
    assert short(watched(rt, info)) == ["snapshot", ("before", 1), "failed"]
    assert rt.restore(info.id) is None
    assert not [event for event in rt.events(name="item.made") if event.origin_run == info.id]


def test_outside_of_a_task(rt: Runtime) -> None:
    with pytest.raises(NotInTask):
        publish("x", 1)


def test_what_cannot_be_watched(rt: Runtime) -> None:
    nobody = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"
    with pytest.raises(TaskNotFound):
        rt.watch(task=nobody)
    with pytest.raises(EventNotFound):
        rt.watch(stream=nobody)
    with pytest.raises(InvalidOption, match="either"):
        rt.watch()
    info = rt.start(app.silent)
    with pytest.raises(InvalidOption, match="either"):
        rt.watch(task=info, stream=info.stream_id)
    with pytest.raises(InvalidOption, match="cursor"):
        rt.watch(task=info, after="nonsense")
    other = watched(rt, rt.start(app.silent))[-1].cursor
    with pytest.raises(InvalidOption, match="of stream"):
        rt.watch(task=info, after=other)


def test_closing_ends_a_wait(real: Runtime) -> None:
    info = real.start(app.on_demand)
    watch = real.watch(task=info)
    waiting = threading.Thread(target=list, args=(watch,))
    waiting.start()
    until(lambda: info.status().state is State.RUNNING, PATIENCE)
    watch.close()
    watch.close()
    waiting.join(PATIENCE)
    assert not waiting.is_alive()
    assert watch.next() is None
    real.close(info.id)
    info.result(timeout=PATIENCE)


def test_the_async_twin(real: Runtime) -> None:
    async def story() -> list[WatchEntry]:
        async with AsyncRuntime.connect(real.home) as rt:
            info = await rt.start(app.tokens, 3)
            async with rt.watch(task=info.id) as watch:
                entries = [entry async for entry in watch]
            async with rt.watch(stream=info.stream_id, after=entries[1].cursor) as watch:
                assert [(await watch.next()).number for _ in range(3)][1:] == [2, 3]  # type: ignore[union-attr]
                pending = asyncio.create_task(watch.next())
                await asyncio.sleep(0)
                while (entry := await pending) is not None and entry.kind != "end":
                    pending = asyncio.create_task(watch.next())
                watch.close()
                assert await watch.next() is None
            return entries

    assert short(asyncio.run(story())) == ["snapshot", ("token", 0), ("token", 1), ("token", 2), "completed"]


def test_it_costs_little_to_wait(real: Runtime) -> None:
    info = real.start(app.on_demand)
    with real.watch(task=info) as watch:
        while True:
            try:
                watch.next(timeout=0.1)
            except TimeoutError:
                break
        began = time.thread_time()
        with pytest.raises(TimeoutError):
            watch.next(timeout=1.0)
        assert time.thread_time() - began < 0.1
    real.close(info.id)
    info.result(timeout=PATIENCE)


def test_a_pruned_task_is_gone(home: Path) -> None:
    with InlineRuntime(workers=1) as rt:
        info = rt.start(app.tokens, 3)
        entries = watched(rt, info)
        rt.prune(all=True)
        with pytest.raises(TaskNotFound):
            rt.watch(task=info, after=entries[1].cursor)


def test_a_task_that_is_pruned_while_it_is_watched(real: Runtime) -> None:
    info = real.start(app.tokens, 3)
    info.result(timeout=PATIENCE)
    with real.watch(task=info) as one, real.watch(stream=info.stream_id) as all:
        assert [one.next(timeout=PATIENCE), all.next(timeout=PATIENCE)]
        real.prune(all=True)
        for _ in range(2):
            with pytest.raises(TaskNotFound, match="pruned"):
                one.next(timeout=PATIENCE)
        with pytest.raises(TimeoutError):
            all.next(timeout=0)

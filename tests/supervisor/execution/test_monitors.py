"""Tasks and actors that are told of the ends of others: one message for each, whatever dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tie_tasks as app
from understudy import (
    InvalidOption,
    MailboxFull,
    NotInTask,
    State,
    SupervisorLost,
    TaskFailed,
    aio,
    demonitor,
    monitor,
)
from understudy.actors import values
from understudy.actors.ids import id_bytes, id_text, new_id
from understudy.storage.tables.monitor_rows import MONITOR
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table, after_prefix
from understudy.supervisor.execution import monitors as monitors_module
from understudy.supervisor.execution.monitors import down
from understudy.testing import InlineRuntime


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    with InlineRuntime() as runtime:
        yield runtime


def told_of(id: str, state: str = "completed", error: Any = None) -> dict[str, Any]:
    return {"$down": id, "state": state, "error": error}


def rows(rt: InlineRuntime) -> int:
    """The monitors on disk."""
    rt.settle()
    return len(rt._rows.scan(Table.ACTORS, MONITOR, after_prefix(MONITOR)))


def send(rt: InlineRuntime, id: str, message: Any) -> None:
    rt.send(id, message)
    rt.settle()


def end(rt: InlineRuntime, id: str) -> None:
    rt.close(id)
    rt.settle()
    assert rt.status(id).state == "completed"


def obeying(rt: InlineRuntime) -> str:
    id = rt.start(app.obeys).id
    rt.settle()
    return id


# --- what is told ---


def test_every_end_is_told_with_its_state_and_error(rt: InlineRuntime):
    late = app.rest.options(timeout=5, grace=1)
    ids = [rt.start(task).id for task in (app.rest, app.rest, app.fails.options(delay=20), late)]
    watcher = rt.start(app.watch, ids)
    rt.settle()
    assert rows(rt) == 4
    end(rt, ids[0])
    rt.cancel(ids[1])
    rt.clock.advance(60)
    told = {each["$down"]: each for each in rt.result(watcher, 10)}
    assert told[ids[0]] == told_of(ids[0])
    assert told[ids[1]] == told_of(ids[1], "cancelled")
    assert told[ids[2]] == told_of(ids[2], "failed", {"type": "ValueError", "message": "told to"})
    assert told[ids[3]]["state"] == "timed_out"
    assert list(told) == [ids[0], ids[1], ids[3], ids[2]], "in the order of the ends"
    assert rows(rt) == 0


def test_what_has_ended_is_told_at_once(rt: InlineRuntime):
    ids = [rt.start(app.double, 1).id, rt.start(app.fails).id]
    rt.settle()
    assert rt.result(rt.start(app.watch, ids), 10) == [
        told_of(ids[0]),
        told_of(ids[1], "failed", {"type": "ValueError", "message": "told to"}),
    ]
    assert rows(rt) == 0


def test_async_tasks_have_twins(rt: InlineRuntime):
    ids = [rt.start(app.double, 1).id, rt.start(app.rest).id]
    watcher = rt.start(app.watch_async, ids)
    rt.settle()
    end(rt, ids[1])
    assert rt.result(watcher, 10) == [told_of(ids[0]), told_of(ids[1]), False]


def test_a_retry_is_no_end(rt: InlineRuntime):
    watched = rt.start(app.parent.options(retry=app.RETRY)).id
    watcher = rt.start(app.watch, [watched])
    rt.settle()
    send(rt, watched, "raise")
    rt.clock.advance(40)
    rt.kill_worker(watched)
    rt.crash()
    rt.settle()
    assert rt.status(watcher).mailbox_depth == 0
    send(rt, watched, "return")
    assert rt.result(watcher, 10) == [told_of(watched)]


def test_a_long_error_is_cut(rt: InlineRuntime):
    failed = rt.start(app.fails, "x" * 5_000).id
    (told,) = rt.result(rt.start(app.watch, [failed]), 10)
    assert told["error"]["message"] == "x" * monitors_module.MESSAGE_LIMIT


def test_two_tasks_may_monitor_one_and_one_many(rt: InlineRuntime):
    ids = [rt.start(app.rest).id for _ in range(5)]
    watchers = [rt.start(app.watch, ids) for _ in range(3)]
    rt.settle()
    assert rows(rt) == 15
    for id in ids:
        end(rt, id)
    assert [rt.result(watcher, 10) for watcher in watchers] == [[told_of(id) for id in ids]] * 3
    assert rows(rt) == 0


# --- once ---


def test_the_same_call_again_changes_nothing(rt: InlineRuntime):
    id = rt.start(app.rest).id
    ended = rt.start(app.double, 1).id
    watcher = obeying(rt)
    for _ in range(3):
        send(rt, watcher, ["monitor", id])
    assert rows(rt) == 1
    end(rt, id)
    # That message was dealt with: one that asks anew wants to be told anew.
    send(rt, watcher, ["monitor", id])
    send(rt, watcher, ["monitor", ended])
    send(rt, watcher, "end")
    assert rt.result(watcher, 10) == [told_of(id), told_of(id), told_of(ended)]


def test_a_message_that_waits_is_not_sent_a_second_time(rt: InlineRuntime):
    ids = [rt.start(app.double, number).id for number in range(3)]
    rt.settle()
    # Each id is asked for twice before anything is received.
    watcher = rt.start(app.watch, [*ids, *ids], 3)
    assert rt.result(watcher, 10) == [told_of(id) for id in ids]
    slow = rt.start(app.watch, ids, 4)
    rt.settle()
    assert rt.status(slow).state == "running"
    assert rt.status(slow).mailbox_depth == 0, "it waits for a fourth one, and none is there"


def test_a_retried_task_keeps_its_monitors(rt: InlineRuntime):
    id = rt.start(app.rest).id
    watcher = obeying(rt)
    send(rt, watcher, ["monitor", id])
    with suppress(TaskFailed):
        send(rt, watcher, "raise")
    assert rt.status(watcher).attempt == 2
    assert rows(rt) == 1
    end(rt, id)
    rt.clock.advance(5)
    assert rt.restore(watcher) == [told_of(id)]


@pytest.mark.parametrize("before", ["monitor", "end", "receive"])
def test_a_task_that_starts_over_is_told_once_more_of_what_it_had_dealt_with(rt: InlineRuntime, before: str):
    """Without a checkpoint: what it had not acknowledged comes again, and what it had is sent anew."""
    id, other = rt.start(app.rest).id, rt.start(app.rest).id
    watcher = rt.start(app.watch, [id, other])
    rt.settle()
    if before != "monitor":
        end(rt, id)
    if before == "receive":
        assert rt.status(watcher).mailbox_depth == 0, "it has asked for the next one"
    rt.crash()
    rt.settle()
    for each in (id, other):
        with suppress(Exception):
            rt.close(each)
        rt.settle()
    assert rt.result(watcher, 10) == [told_of(id), told_of(other)]


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize(
    "point",
    [
        f"{point}.{side}"
        for point in ("monitor", "down", "result", "commit", "acknowledge")
        for side in ("before", "after")
    ],
)
def test_one_message_wherever_the_supervisor_dies(rt: InlineRuntime, point: str, nth: int):
    rt.crash_at(point, nth)
    while True:
        with suppress(SupervisorLost):
            crowd = rt.start(app.crowd, 4)
            break
    value = rt.result(crowd, 100)
    assert sorted(value["told"]) == sorted(value["watched"])
    assert value["last"] == "last"
    assert {rt.status(id).state for id in value["linked"]} == {"cancelled"}
    assert {rt.result(id) for id in value["watched"]} == {0, 2, 4, 6}
    assert rows(rt) == 0


@pytest.mark.parametrize("point", ["begin", "end", "report", "take", "deliver"])
@pytest.mark.parametrize("nth", [1, 3, 5])
def test_one_message_wherever_a_worker_dies(point: str, nth: int):
    with InlineRuntime(max_crashes=100, restarts=100) as rt:
        rt.crash_at(f"{point}.before", nth)
        value = rt.result(rt.start(app.crowd, 4), 100)
        assert sorted(value["told"]) == sorted(value["watched"])
        assert value["last"] == "last"
        assert rows(rt) == 0


# --- no longer ---


def test_demonitor(rt: InlineRuntime):
    id, ended = rt.start(app.rest).id, rt.start(app.double, 1).id
    watcher = obeying(rt)
    for order in (
        ["monitor", id],
        ["demonitor", id],
        ["demonitor", id],
        ["demonitor", ended],
        ["demonitor", id_text(new_id())],
    ):
        send(rt, watcher, order)
    assert rows(rt) == 0
    end(rt, id)
    send(rt, watcher, "end")
    assert rt.result(watcher, 10) == [True, False, False, False]


def test_monitors_go_with_who_is_told(rt: InlineRuntime):
    id = rt.start(app.rest).id
    watchers = [rt.start(app.watch, [id]).id for _ in range(2)]
    rt.settle()
    rt.cancel(watchers[0])
    assert rows(rt) == 1
    rt.crash()
    end(rt, id)
    assert rt.result(watchers[1], 10) == [told_of(id)]
    assert rt.status(watchers[0]).mailbox_depth == 0
    assert rows(rt) == 0
    core = rt._world.core
    assert (core.monitors._watched, core.monitors._watchers, core.monitors._told) == ({}, {}, {})
    assert core.monitors._ended not in core.table.ends.of_all


# --- mailboxes ---


def test_the_message_comes_into_a_full_mailbox():
    with InlineRuntime(mailbox_messages=3) as rt:
        ids = [rt.start(app.rest).id for _ in range(3)]
        watcher = rt.start(app.busy_watch, ids)
        rt.settle()
        for number in range(3):
            rt.send(watcher, number)
        with pytest.raises(MailboxFull):
            rt.send(watcher, 3)
        for id in ids:
            end(rt, id)
        assert rt.status(watcher).mailbox_depth == 6
        rt.clock.advance(100)
        assert rt.result(watcher, 10) == [0, 1, 2, *[told_of(id) for id in ids]]


def test_a_closed_mailbox_takes_it_and_ends_after_it(rt: InlineRuntime):
    ids = [rt.start(app.rest).id for _ in range(2)]
    watcher = rt.start(app.watch, ids, 3)
    rt.settle()
    rt.send(watcher, "before")
    rt.close(watcher)
    rt.settle()
    assert rt.status(watcher).state == "running"
    # It has dealt with the first message, and begins anew with what is left.
    rt.crash()
    end(rt, ids[0])
    assert rt.status(watcher).state == "running"
    end(rt, ids[1])
    assert rt.result(watcher, 10) == [told_of(ids[0]), told_of(ids[1]), None]


def test_a_task_whose_mailbox_is_closed_may_monitor(rt: InlineRuntime):
    id, ended = rt.start(app.rest).id, rt.start(app.double, 1).id
    watcher = rt.start(app.drains, [id, ended])
    rt.settle()
    rt.send(watcher, "first")
    rt.close(watcher)
    rt.settle()
    assert rt.status(watcher).state == "running"
    end(rt, id)
    assert rt.result(watcher, 10) == ["first", None, told_of(ended), told_of(id), None, "unknown", None]


def test_the_end_comes_once_nothing_is_expected_any_more(rt: InlineRuntime):
    id = rt.start(app.rest).id
    watcher = obeying(rt)
    send(rt, watcher, ["monitor", id])
    rt.send(watcher, ["demonitor", id])
    rt.close(watcher)
    assert rt.result(watcher, 10) == [True]


# --- actors ---


@pytest.mark.parametrize("cls", [app.Watcher, app.Fleeting])
def test_actors_are_told_in_on_receive(rt: InlineRuntime, cls: Any):
    ids = [rt.start(app.rest).id for _ in range(2)]
    watcher = rt.actor(cls, "ada")
    ended = rt.start(app.double, 1).id
    for id in (*ids, ended, ended):
        watcher.call("watch", id)
    rt.settle()
    end(rt, ids[0])
    assert watcher.call("forget_about", ids[1]) is True
    end(rt, ids[1])
    assert watcher.call("so_far") == [told_of(ended), told_of(ended), told_of(ids[0])]
    assert rows(rt) == 0


def test_a_passive_actor_is_woken(rt: InlineRuntime):
    id = rt.start(app.rest).id
    watcher = rt.actor(app.Watcher, "ada")
    watcher.call("watch", id)
    rt.clock.advance(100)
    assert rt.status(watcher.id).worker_pid is None
    rt.crash()
    end(rt, id)
    assert watcher.call("so_far") == [told_of(id)]


def test_the_end_of_an_actor_is_told_as_well(rt: InlineRuntime):
    watched = rt.actor(app.Boss, "ada")
    watcher = rt.actor(app.Watcher, "bob")
    watcher.call("watch", watched)
    task = rt.start(app.watch, [watched.id])
    rt.settle()
    watched.stop()
    assert rt.result(task, 10) == [told_of(watched.id)]
    assert watcher.call("so_far") == [told_of(watched.id)]


def test_an_actor_that_ends_is_told_of_nothing(rt: InlineRuntime):
    id = rt.start(app.rest).id
    watcher = rt.actor(app.Watcher, "ada")
    watcher.call("watch", id)
    watcher.stop()
    assert rows(rt) == 0
    end(rt, id)
    assert rt.dead_letters(watcher) == []


def test_an_actor_needs_a_method_that_gets_the_message(rt: InlineRuntime):
    deaf = rt.actor(app.Deaf, "ada")
    with pytest.raises(InvalidOption, match=r"ties:.*Deaf|Deaf has no on_receive"):
        deaf.call("watch", rt.start(app.rest).id)


# --- what is refused ---


def test_unknown_ids_and_itself(rt: InlineRuntime):
    errors = rt.result(rt.start(app.refused, id_text(new_id())), 10)
    assert [kind for kind, _ in errors] == ["TaskNotFound", "InvalidOption", "InvalidOption", "TaskNotFound"]
    assert "cannot monitor itself" in errors[1][1]


def test_not_outside_of_tasks(rt: InlineRuntime):
    id = rt.start(app.rest).id
    for call in (monitor, demonitor, rt.monitor, rt.demonitor):
        with pytest.raises(NotInTask, match="works only inside"):
            call(id)
    assert aio.monitor is not monitor


def test_as_many_as_the_mailbox_takes_messages():
    with InlineRuntime(mailbox_messages=2) as rt:
        ids = [rt.start(app.rest).id for _ in range(3)]
        watcher = rt.start(app.watch.options(retry=0), ids)
        with pytest.raises(TaskFailed, match="monitors 2 others, and that is as many"):
            rt.result(watcher, 10)
        first, second = (rt.start(app.watch, ids[:1]) for _ in range(2))
        rt.settle()
        third = rt.start(app.watch.options(retry=0), ids[:1])
        with pytest.raises(TaskFailed, match="is monitored by 2 others"):
            rt.result(third, 10)
        end(rt, ids[0])
        assert rt.result(first, 10) == rt.result(second, 10) == [told_of(ids[0])]


# --- the message ---


@given(
    state=st.sampled_from(["completed", "failed", "timed_out", "cancelled"]),
    error=st.none() | st.tuples(st.text(max_size=50), st.text(max_size=3_000), st.just(""), st.just({})),
)
@settings(max_examples=200, deadline=None)
def test_the_message_names_its_task(state: str, error: Any):
    """However it was encoded, it is known again in a mailbox by its beginning."""
    id = new_id()
    record = Record(id, "work", 1.0, id)
    record.state, record.error = State(state), error
    packed = down(record)
    told = values.unpack(packed)
    assert (id_bytes(told["$down"]), told["state"]) == (id, state)
    assert told["error"] == (None if error is None else {"type": error[0], "message": error[1][:1_000]})
    assert monitors_module._about(packed) == id


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda rest: b"\x83\xa5$down\xd9\x24" + rest))
def test_other_messages_name_none(message: bytes):
    about = monitors_module._about(message)
    assert about is None or len(about) == 16

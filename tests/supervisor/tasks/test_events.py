"""Emitting on a real store, with workers of paper: what one commit makes, what is refused, and who listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from room import Room, declared, room
from understudy.actors import values
from understudy.actors.errors import (
    EventCycle,
    EventNotFound,
    InvalidOption,
    InvalidValue,
    NotInTask,
    UnderstudyError,
    ValueTooLarge,
)
from understudy.actors.events.event import Event
from understudy.actors.ids import id_text, new_id
from understudy.actors.state import State
from understudy.storage.tables import event_rows
from understudy.storage.tables.event_rows import EventRow
from understudy.storage.tables.schema import Table
from understudy.supervisor.tasks import events as events_module
from understudy.supervisor.tasks.events import Events


def handler(*patterns: str, **options: Any) -> dict[str, Any]:
    return {**declared(**options), "patterns": list(patterns)}


TASKS = {
    "quick": declared(),
    "bill": handler("order.*"),
    "audit": handler("order.paid", "**.late"),
    "alert": handler("understudy.task.failed"),
}


def row(
    name: str = "order.paid",
    data: Any = None,
    *,
    uid: bytes | None = None,
    origin: bytes | None = None,
    **fields: Any,
) -> list[Any]:
    uid = uid or new_id()
    stream = fields.get("stream")
    event = Event(fields.get("id") or id_text(uid), name, data, time.time(), id_text(stream or uid))
    return [uid, fields.get("id"), name, stream, origin, event.time, values.pack(event)]


Story = Callable[[Room, Events], Awaitable[None]]


def on_stage(**settings: Any) -> Callable[[Story], Callable[[Path], None]]:
    def decorated(story: Story) -> Callable[[Path], None]:
        def test(home: Path) -> None:
            async def played() -> None:
                async with room(home, tasks=TASKS, workers=0, **settings) as it:
                    await story(it, it.core.events)

            asyncio.run(played())

        return test

    return decorated


def stored(it: Room) -> list[EventRow]:
    return [EventRow.unpack(value) for _, value in it.rows(Table.EVENTS, event_rows.EVENT)]


def kinds(it: Room) -> dict[int, int]:
    """How many rows of each kind there are."""
    found: dict[int, int] = {}
    for key, _ in it.rows(Table.EVENTS):
        found[key[0]] = found.get(key[0], 0) + 1
    return found


def messages(it: Room, id: bytes) -> list[Any]:
    rows = it.rows(Table.MAIL, id)
    return [values.unpack(value).data for _, value in sorted(rows)]


@on_stage()
async def test_an_event_and_its_runs_are_one_commit(it: Room, events: Events) -> None:
    uid = new_id()
    (told,) = events.emit([row(data={"id": 7}, uid=uid)])
    assert it.rows(Table.EVENTS) == it.rows(Table.TASKS) == []
    await it.settle()
    (event,) = stored(it)
    assert [name for name, _ in event.runs] == ["audit", "bill"]
    assert told == (id_text(uid), uid, tuple(run for _, run in event.runs))
    for name, run in event.runs:
        record = it.record(run)
        assert (record.name, record.kind, record.stream, record.origin) == (name, "event", uid, None)
        assert record.trigger == {"event_id": id_text(uid), "event": "order.paid"}
        ((given,), nothing) = values.unpack(dict(it.rows(Table.ARGS))[run])
        assert nothing == {}
        assert (given.id, given.name, given.data) == (id_text(uid), "order.paid", {"id": 7})
    assert kinds(it) == {1: 1, 3: 1}


@on_stage()
async def test_what_matches_nothing_is_kept(it: Room, events: Events) -> None:
    (told,) = events.emit([row("weather.fair")])
    assert told.runs == ()
    await it.settle()
    assert kinds(it) == {1: 1, 3: 1, 4: 1}
    assert it.rows(Table.TASKS) == []


@on_stage()
async def test_one_id_is_one_event(it: Room, events: Events) -> None:
    first = row(id="stripe/1")
    (told,) = events.emit([first])
    # In the same batch, once it is on disk, with another uid, another name, and in one request.
    assert events.emit([first]) == [told]
    assert events.emit([row(id="stripe/1"), row("order.late", id="stripe/1")]) == [told, told]
    await it.settle()
    assert events.emit([row(id="stripe/1"), first]) == [told, told]
    one, two, three = events.emit([row(id="new"), row(id="new"), row(id="newer")])
    assert one == two != three
    await it.settle()
    assert len(stored(it)) == 3
    assert len(it.rows(Table.TASKS)) == 6
    assert kinds(it) == {1: 3, 2: 3, 3: 3}


@on_stage()
async def test_all_or_nothing(it: Room, events: Events) -> None:
    good = row()
    for bad, error in (
        (row("order..paid"), InvalidOption),
        (row("understudy.task.failed"), InvalidOption),
        (row(id="a b"), InvalidOption),
        ([*row()[:6], "text"], InvalidValue),
        ([b"short", *row()[1:]], InvalidValue),
        ([*row()[:3], b"s", *row()[4:]], InvalidValue),
        ([*row()[:5], "now", row()[6]], InvalidValue),
    ):
        with pytest.raises(error):
            events.emit([good, bad])
        with pytest.raises(error):
            events.emit([bad, good])
    await it.settle()
    assert it.rows(Table.EVENTS) == it.rows(Table.TASKS) == []


@on_stage(value_limit=2_000)
async def test_a_large_event_is_refused(it: Room, events: Events) -> None:
    events.emit([row(data="x" * 1_800)])
    with pytest.raises(ValueTooLarge, match="emit its path"):
        events.emit([row(data="x" * 2_000)])


@on_stage()
async def test_copies_of_an_event_have_a_limit(it: Room, events: Events) -> None:
    limit, events_module.COPIES_LIMIT = events_module.COPIES_LIMIT, 1_500  # type: ignore[misc]
    try:
        events.emit([row(data="x" * 500)])
        with pytest.raises(ValueTooLarge, match="each of its 2 handlers"):
            events.emit([row(data="x" * 700)])
    finally:
        events_module.COPIES_LIMIT = limit  # type: ignore[misc]


@on_stage(event_handlers=3)
async def test_the_limit_of_handlers(it: Room, events: Events) -> None:
    it.table.declare({"third": handler("order.*")})
    (told,) = events.emit([row()])
    assert len(told.runs) == 3
    it.table.declare({"fourth": handler("**")})
    with pytest.raises(InvalidOption, match="has 4 handlers; the limit of this supervisor is 3"):
        events.emit([row()])
    (told,) = events.emit([row("order.lost")])
    assert len(told.runs) == 3


@on_stage()
async def test_a_thousand_handlers(it: Room, events: Events) -> None:
    it.table.declare({f"h{number:03}": handler("many.*") for number in range(1_000)})
    (told,) = events.emit([row("many.now")])
    await it.settle()
    assert len(told.runs) == len(it.rows(Table.TASKS)) == 1_000


@on_stage()
async def test_handlers_are_those_that_the_app_declares_now(it: Room, events: Events) -> None:
    it.table.declare({"bill": handler("bill.*")})
    (told,) = events.emit([row()])
    assert [it.record(run).name for run in told.runs] == ["audit"]
    it.table.undeclare("audit")
    (told,) = events.emit([row()])
    assert told.runs == ()
    it.table.declare({"audit": handler("order.*")})
    it.table.undeclare("audit", "a module that cannot be imported now")
    (told,) = events.emit([row()])
    assert [it.record(run).name for run in told.runs] == ["audit"], "it waits for its code"


@on_stage()
async def test_a_chain_has_an_end(it: Room, events: Events) -> None:
    origin: bytes | None = None
    for depth in range(1, 65):
        (told,) = events.emit([row(origin=origin)])
        assert it.record(told.runs[0]).depth == depth
        origin = told.runs[0]
    with pytest.raises(EventCycle, match=r"number 65 in a row") as caught:
        events.emit([row(origin=origin)])
    assert caught.value.name == "order.paid"
    # Of something that has nothing to do with it.
    (told,) = events.emit([row(origin=it.add())])
    assert it.record(told.runs[0]).depth == 1


@on_stage()
async def test_what_a_run_starts_is_in_its_chain(it: Room, events: Events) -> None:
    (first,) = events.emit([row()])
    run, started, retried = first.runs[0], new_id(), new_id()
    assert it.entry(run).record.depth == 1  # in memory now, as one that runs
    it.service._admission.start([(started, "quick", None, None, None, None, started, run)])
    assert it.record(started).depth == 1
    (second,) = events.emit([row(origin=started)])
    assert it.record(second.runs[0]).depth == 2
    it.attempts.cancel(started)
    await it.settle()
    it.service._admission.retry(started, retried, from_scratch=False)
    assert it.record(retried).depth == 1


@on_stage()
async def test_the_runtimes_own_events_tell_of_the_end_of_the_longest_chain(it: Room, events: Events) -> None:
    last, alert = it.entry(it.add()), it.entry(it.add())
    last.record.depth, alert.record.depth = 64, 65
    for task in (last, alert):
        it.table.touch(task)
    events.notice("understudy.task.failed", {}, last.record)
    await it.settle()
    (event,) = stored(it)
    assert it.record(event.runs[0][1]).depth == 65
    # What an alert has started and what fails as well does not alert without end.
    events.notice("understudy.task.failed", {}, it.record(alert.id))
    await it.settle()
    assert len(stored(it)) == 1


@on_stage()
async def test_replay(it: Room, events: Events) -> None:
    (told,) = events.emit([row(id="stripe/1")])
    await it.settle()
    again = events.replay("stripe/1", None)
    assert (again.id, again.stream) == (told.id, told.stream)
    assert [it.record(run).name for run in again.runs] == ["audit", "bill"]
    one = events.replay("stripe/1", "bill")
    assert [it.record(run).name for run in one.runs] == ["bill"]
    await it.settle()
    (event,) = stored(it)
    assert [run for _, run in event.runs] == [*told.runs, *again.runs, *one.runs]
    with pytest.raises(InvalidOption, match=r"alert does not handle events named order\.paid"):
        events.replay("stripe/1", "alert")
    for unknown in ("stripe/2", id_text(new_id()), "ä", ""):
        with pytest.raises(EventNotFound):
            events.replay(unknown, None)


@on_stage()
async def test_a_replay_finds_handlers_that_came_later(it: Room, events: Events) -> None:
    (told,) = events.emit([row("weather.fair")])
    await it.settle()
    assert kinds(it)[4] == 1
    it.table.declare({"forecast": handler("weather.*")})
    again = events.replay(told.id, None)
    assert [it.record(run).name for run in again.runs] == ["forecast"]
    await it.settle()
    assert 4 not in kinds(it)


@on_stage(task_listens=2)
async def test_listening(it: Room, events: Events) -> None:
    id = it.add()
    events.listen(id, "number.*", (), None)
    events.listen(id, "number.*", (), None)
    events.listen(id, "number.**", [("n", 3)], None)
    with pytest.raises(InvalidOption, match="listens to 2 patterns"):
        events.listen(id, "other", (), None)
    events.emit([row("number.one", {"n": 1}), row("number.two.three", {"n": 2})])
    events.emit([row("number.three.a", {"n": 3}), row("number.three", {"n": 3})])
    await it.settle()
    assert messages(it, id) == [{"n": 1}, {"n": 3}, {"n": 3}]
    assert kinds(it) == {1: 4, 3: 4, 4: 1, 6: 2}
    it.attempts.cancel(id)
    events.emit([row("number.four")])
    await it.settle()
    assert kinds(it) == {1: 5, 3: 5, 4: 2}
    assert len(messages(it, id)) == 3
    with pytest.raises(NotInTask, match="has ended"):
        events.listen(id, "number.*", (), None)


@on_stage()
async def test_since_brings_earlier_events_first(it: Room, events: Events) -> None:
    events.emit([row("number.one", 1, uid=bytes(6) + b"\x70\x00\x80" + bytes(7))])  # 1970
    events.emit([row("number.two", {"n": 2})])
    await it.settle()
    events.emit([row("number.three", {"n": 3}), row("other.four", 4)])  # not on disk yet
    id, other = it.add(), it.add()
    events.listen(id, "number.*", (), 60.0)
    events.listen(other, "number.*", [("n", 3)], 1e9)
    events.emit([row("number.five", 5)])
    await it.settle()
    assert messages(it, id) == [{"n": 2}, {"n": 3}, 5]
    assert messages(it, other) == [{"n": 3}]


@on_stage(mailbox_messages=1)
async def test_no_event_is_missed_by_a_full_mailbox(it: Room, events: Events) -> None:
    id = it.add()
    events.listen(id, "number.*", (), None)
    events.emit([row("number.next", n) for n in range(3)])
    await it.settle()
    assert messages(it, id) == [0, 1, 2]


def test_an_event_that_is_on_disk_is_known_after_a_restart(home: Path):
    older, newer = row(), row()

    async def first() -> list[Any]:
        async with room(home, tasks=TASKS, workers=0) as it:
            told = it.core.events.emit([newer])
            told += it.core.events.emit([older])
            await it.settle()
            assert it.core.events.emit([newer, older]) == told
            return told

    async def second(told: list[Any]) -> None:
        async with room(home, tasks=TASKS, workers=0) as it:
            assert it.core.events.emit([newer, older]) == told
            await it.settle()
            assert kinds(it)[1] == 2

    asyncio.run(second(asyncio.run(first())))


def test_listens_outlive_their_supervisor(home: Path):
    async def first() -> bytes:
        async with room(home, tasks=TASKS, workers=0) as it:
            id = it.add()
            it.core.events.listen(id, "number.*", [("n", 1)], None)
            await it.settle()
            it.commits.put(Table.EVENTS, event_rows.listen_key(id, "damaged", ()), b"?")
            await it.settle()
            return id

    async def second(id: bytes) -> None:
        async with room(home, tasks=TASKS, workers=0) as it:
            it.core.events.emit([row("number.x", {"n": 2}), row("number.x", {"n": 1})])
            await it.settle()
            assert messages(it, id) == [{"n": 1}]
            it.attempts.cancel(id)
            await it.settle()
            assert kinds(it)[6] == 1, "the damaged one"

    asyncio.run(second(asyncio.run(first())))


@on_stage()
async def test_what_is_no_listen(it: Room, events: Events) -> None:
    id = it.add()
    wrong: list[tuple[Any, ...]] = [
        ("a..b", (), None),
        ("a", [("", 1)], None),
        ("a", [("x", [1])], None),
        ("a", (), -1.0),
        ("a", (), "now"),
    ]
    for fields in wrong:
        with pytest.raises(InvalidOption):
            events.listen(id, *fields)
    with pytest.raises(UnderstudyError):
        events.listen(new_id(), "a", (), None)


@on_stage()
async def test_the_runtimes_own_events_come_where_they_are_wanted(it: Room, events: Events) -> None:
    def end(id: bytes, error: tuple[Any, ...] = ("Fail", "oops", "", {})) -> None:
        it.table.end(it.entry(id), events_module_event("FAIL"), error=error)

    ordinary = it.add()
    it.entry(ordinary).begin(1, 0.0)
    end(ordinary)
    await it.settle()
    (event,) = stored(it)
    assert (event.name, event.origin, event.stream) == ("understudy.task.failed", ordinary, ordinary)
    assert [name for name, _ in event.runs] == ["alert"]
    data = values.unpack(event.packed).data
    assert (data["id"], data["task"], data["message"]) == (id_text(ordinary), "quick", "oops")
    # A run of the runtime's own events causes none.
    alert = event.runs[0][1]
    it.entry(alert).begin(1, 0.0)
    end(alert)
    # Nobody wants this one.
    it.attempts.cancel(it.add())
    events.notice("understudy.worker.died", {"pid": 1})
    await it.settle()
    assert len(stored(it)) == 1
    listener = it.add()
    events.listen(listener, "understudy.**", (), None)
    events.notice("understudy.worker.died", {"pid": 1})
    it.attempts.cancel(it.add())
    await it.settle()
    assert [event.name for event in stored(it)][1:] == ["understudy.worker.died", "understudy.task.cancelled"]
    assert len(messages(it, listener)) == 2
    it.attempts.cancel(listener)
    it.table.undeclare("alert")
    assert it.table.ends.of_all == ()


def events_module_event(name: str) -> Any:
    from understudy.actors.state import Event as Transition

    return Transition[name]


@on_stage()
async def test_pruning(it: Room, events: Events) -> None:
    events.emit([row(id="old"), row("weather.fair")])
    await it.settle()
    assert await it.service.prune(time.time()) == 0
    assert len(stored(it)) == 2
    await it.service.prune(time.time() + it.settings.event_keep + 5)
    assert it.rows(Table.EVENTS) == []
    assert len(it.rows(Table.TASKS)) == 2


def test_a_retried_run_keeps_what_has_triggered_it(home: Path):
    async def story() -> None:
        async with room(home, tasks=TASKS, workers=0) as it:
            (told,) = it.core.events.emit([row("order.lost")])
            (run,) = told.runs
            it.attempts.cancel(run)
            await it.settle()
            new = new_id()
            it.service._admission.retry(run, new, from_scratch=False)
            await it.settle()
            old, again = it.record(run), it.record(new)
            assert old.state is State.CANCELLED
            assert (again.kind, again.trigger, again.depth) == ("event", old.trigger, 1)
            assert dict(it.rows(Table.ARGS))[new] == dict(it.rows(Table.ARGS))[run]

    asyncio.run(story())

"""What clients ask for, over a real Unix socket: every operation, and every wrong type in every field of it."""

from __future__ import annotations

import asyncio
import gc
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from room import Room, declared, room
from understudy import Supervisor
from understudy.actors.attempt.host import Assignment
from understudy.actors.errors import AppFailed
from understudy.actors.ids import new_id
from understudy.actors.map_ids import child_id, map_base
from understudy.actors.refs.letter import Kind, Letter
from understudy.actors.state import State
from understudy.storage.tables.actor_rows import reply_key, reply_rows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, code_sort, id_floor
from understudy.supervisor.wire.messages import Answer, Ask, Order
from wire import Wire, connect, listening


def start_row(name: str = "quick", id: bytes | None = None, **fields: Any) -> tuple[Any, ...]:
    id = id or new_id()
    row = {"args": None, "options": None, "key": None, "due": None, "stream": id, "origin": None, **fields}
    return (id, name, *row.values())


async def started(wire: Wire, *rows: tuple[Any, ...], request: int = 1) -> Any:
    return await wire.ask(Ask.START, list(rows), request=request)


def on_disk(it: Room, id: bytes) -> State:
    row = it.commits.store._environment.get(Table.TASKS, id)
    assert row is not None
    return Record.unpack(id, row).state


def test_whatever_changes_something_is_answered_once_it_is_on_disk(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            row = start_row(args=b"args")
            id = row[0]
            assert await started(wire, row) is None
            assert on_disk(it, id) is State.QUEUED
            assert it.rows(Table.ARGS) == [(id, b"args")]
            assert await wire.ask(Ask.SEND, [(id, b"one"), (id, b"two")], request=2) is None
            assert len(it.rows(Table.MAIL)) == 2
            assert await wire.ask(Ask.CLOSE, id, request=3) is None
            assert (await wire.ask(Ask.SEND, [(id, b"x")], request=4))[0] == "MailboxClosed"
            assert await wire.ask(Ask.CANCEL, id, request=5) is True
            assert on_disk(it, id) is State.CANCELLED
            assert await wire.ask(Ask.CANCEL, id, request=6) is False
            for op in (Ask.CANCEL, Ask.CLOSE):
                assert (await wire.ask(op, new_id(), request=7))[0] == "TaskNotFound"
            assert (await wire.ask(Ask.WAIT, [new_id()], request=8))[0] == "TaskNotFound"
            assert await wire.ask(Ask.CLOSE, id, request=9) is None
            await wire.close()

    asyncio.run(story())


# --- wrong types ---

#: Values of every kind that a frame can hold.
WRONG: list[Any] = [
    *(None, True, -1, 0, 2**63, 2.5, float("nan"), float("inf")),
    *(
        b"",
        b"x" * 15,
        b"\xff" * 16,
        bytes(17),
        "",
        "x" * 16,
        "\x00",
        [],
        [None],
        [[]],
        [1, 2, 3],
        [b"x" * 16],
    ),
    *({}, {"a": 1}, {1: 2}, [{}], [[b"x" * 16, b"y"]], [["a"] * 8], [[None] * 8]),
]

LETTER = Letter(Kind.ASK, 0, new_id(), None).pack()

PARENT, BASE = new_id(), map_base(new_id(), new_id())


def child_row(**fields: Any) -> tuple[Any, ...]:
    return start_row(id=child_id(BASE, 0), stream=PARENT, **{"origin": PARENT, **fields})


GOOD: dict[Ask, list[Any]] = {
    Ask.MAP: [PARENT, BASE, [child_row()]],
    Ask.START: [[start_row()]],
    Ask.SEND: [[(b"i" * 16, b"v")]],
    Ask.CLOSE: [b"i" * 16],
    Ask.CANCEL: [b"i" * 16],
    Ask.WAIT: [[b"i" * 16]],
    Ask.UNWAIT: [],
    Ask.RETRY: [b"i" * 16, b"j" * 16, False],
    Ask.DECLARE: [["module"]],
    Ask.TREE: [],
    Ask.STOP: [False],
    Ask.PRUNE: [False],
    Ask.COMPACT: [],
    Ask.SUBSCRIBE: [None, None, False],
    Ask.PARAMETERS: ["app:task"],
    Ask.ACTOR: [(new_id(), "app:Account", "ada", None, None, new_id(), None)],
    Ask.TELL: [[(b"i" * 16, LETTER)]],
    Ask.ASK: [b"i" * 16, LETTER, []],
    Ask.UNASK: [],
    Ask.LETTERS: [[(1, b"i" * 16, LETTER)], [b"j" * 16]],
    Ask.REDRIVE: [b"i" * 16, None],
    Ask.RESIDENT: [b"i" * 16],
    Ask.EMIT: [[(new_id(), "id", "order.paid", None, None, 5.0, b"v")]],
    Ask.REPLAY: ["id", None],
    Ask.LISTEN: [b"i" * 16, "order.*", [["id", 7]], None],
    Ask.SCHEDULE: [("key", "app:task", None, None, {"every": 5.0}, None, None)],
    Ask.PLAN: ["key", "pause"],
    Ask.SUPERVISE: [Supervisor("shop", children=[]).pack()],
    Ask.BRANCH: ["shop", "stop"],
    Ask.ACCESS: ["remove", "nobody"],
    Ask.TRIGGERS: [],
    Ask.STACK: [b"i" * 16],
    Ask.BULK: [new_id(), "open", "cancel", "state:failed", "a test", False],
    Ask.LIMITS: [],
    Ask.LIMIT: ["understudy.containers", {"concurrency": 3}],
    Ask.POOLS: [],
    Ask.MONITOR: [b"i" * 16, b"j" * 16],
    Ask.DEMONITOR: [b"i" * 16, b"j" * 16],
}


def test_every_operation_is_tried_out_here():
    assert set(GOOD) == set(Ask) - {Ask.HELLO}


def wrong_frames(op: Ask) -> list[list[Any]]:
    good = GOOD[op]
    frames = [[*good[:place], wrong, *good[place + 1 :]] for place in range(len(good)) for wrong in WRONG]
    frames += [good[:count] for count in range(len(good))]  # too few fields
    frames += [[*good, None]]  # one too many
    if op is Ask.START:
        row = start_row()
        frames += [[[(*row[:place], wrong, *row[place + 1 :])]] for place in range(8) for wrong in WRONG]
        frames += [[[row[:count]]] for count in range(8)]
        frames += [[[(*row, 1)]]]
        options = (
            "timeout",
            "retry",
            "grace",
            "priority",
            "isolate",
            "memory_limit",
            "keep",
            "ack",
            "no such one",
        )
        frames += [[[start_row(options={name: wrong})]] for name in options for wrong in WRONG]
        frames += [[[start_row(due=time.time() + 1e12)]], [[start_row(key="k" * 2_000)]]]
    if op is Ask.MAP:
        row = child_row()
        rows = [(*row[:place], wrong, *row[place + 1 :]) for place in range(8) for wrong in WRONG]
        rows += [row[:count] for count in range(8)] + [(*row, 1), start_row(origin=PARENT)]
        frames += [[PARENT, BASE, [each]] for each in rows]
    if op is Ask.EMIT:
        event = (new_id(), None, "order.paid", None, None, 5.0, b"v")
        frames += [[[(*event[:place], wrong, *event[place + 1 :])]] for place in range(7) for wrong in WRONG]
        frames += [[[event[:count]]] for count in range(7)]
    if op is Ask.LETTERS:
        letter = (1, b"i" * 16, LETTER)
        frames += [
            [[(*letter[:place], wrong, *letter[place + 1 :])], []] for place in range(3) for wrong in WRONG
        ]
        frames += [[[letter[:count]], []] for count in range(3)]
    if op is Ask.SEND:
        frames += [[[(b"i" * 16, b"v")], wrong] for wrong in WRONG]
        frames += [[[(b"i" * 16, b"v"), (b"j" * 16, b"v")], "key"]]
        frames += [[[(wrong, b"v")]] for wrong in WRONG] + [[[(b"i" * 16, wrong)]] for wrong in WRONG]
    return frames


@pytest.mark.parametrize("op", GOOD, ids=lambda op: op.name)
@pytest.mark.parametrize("ready", [True, False], ids=["loaded", "loading"])
def test_wrong_fields_get_an_answer_or_a_closed_connection(home: Path, op: Ask, ready: bool):
    """None of them may harm another connection, keep its own waiting, or leave anything that cannot be read back."""

    async def story() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with room(home, workers=0) as it, listening(it) as path:
            good = await connect(path)
            wire = await connect(path)
            for number, fields in enumerate(wrong_frames(op), 1):
                if not ready:
                    it.pool.app_ready.clear()
                    it.loop.call_soon(it.pool.app_ready.set)
                if op is Ask.LETTERS:
                    number = 1  # noqa: PLW2901 - as its first letter has
                awaited = number
                await wire.send((op, number, *fields))
                if op is Ask.UNWAIT or (op is Ask.WAIT and fields and fields[0] == []):
                    awaited = 10_000 + number
                    await wire.send((Ask.TREE, awaited))
                while not any(
                    f[0] in {Answer.OK, Answer.ERROR} and f[1] in {0, awaited} for f in wire.frames
                ):
                    if not await wire.read():
                        break
                if wire.closed or any(f[0] == Answer.ERROR and f[1] == 0 for f in wire.frames):
                    said = await wire.last_words()
                    assert said is not None, fields
                    assert said[2] == "ProtocolError", fields
                    await wire.close()
                    wire = await connect(path)
                wire.frames.clear()
            assert await good.ask(Ask.TREE, request=1) == {}
            assert await started(good, start_row(), request=2) is None
            await it.settle()
            for id, row in it.rows(Table.TASKS):
                it.table.declared.options_of(Record.unpack(id, row))
            for key, _ in it.rows(Table.LIVE):
                assert it.table.find(key[9:]) is not None
            await wire.close()
            await good.close()
        assert problems == []

    asyncio.run(story())


# --- starting ---


def test_a_start_asked_twice_starts_once(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            row = start_row()
            assert await started(wire, row, row, request=1) is None
            await it.settle()
            assert len(it.rows(Table.TASKS)) == 1
            assert await started(wire, row, request=2) is None  # while it is in memory
            for assignment in it.workers[0].begin():
                it.workers[0].done(assignment.id)
            await it.settle()
            assert it.table.tasks == {}
            assert await started(wire, row, request=3) is None  # when it has long ended
            assert await started(wire, start_row(), row, request=4) is None  # among others
            await it.settle()
            assert it.state(row[0]) is State.COMPLETED
            assert len(it.rows(Table.TASKS)) == 2
            await wire.close()

    asyncio.run(story())


def test_keys(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            first, second, third = start_row(key="k"), start_row(key="k"), start_row()
            assert await started(wire, first, third, request=1) is None
            assert await started(wire, second, request=2) == (first[0],)
            a, b = start_row(key="new"), start_row(key="new")
            assert await started(wire, a, second, b, request=3) == (a[0], first[0], a[0])
            await it.settle()
            assert len(it.rows(Table.TASKS)) == 3
            assert (await started(wire, start_row(key=""), request=4))[0] == "InvalidOption"
            it.attempts.cancel(first[0])
            await it.settle()
            assert await it.service.prune(float("inf")) == 1
            again = start_row(key="k")
            assert await started(wire, again, request=5) is None, "the task of that key is forgotten"
            await wire.close()

    asyncio.run(story())


def test_a_repeated_start_by_key_has_the_effect_of_one(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            rows = [start_row(key=("k", "start")), start_row(key=("k", "start"))]
            first = rows[0][0]
            assert await started(wire, *rows, request=1) == (first, first)
            it.attempts.cancel(first)
            await it.settle()
            assert await started(wire, *rows, request=2) == (first, first), "the first answer was lost"
            assert await started(wire, start_row(key=("k", "start")), request=3) is None
            await wire.close()

    asyncio.run(story())


def test_all_of_a_start_or_nothing(home: Path):
    async def story() -> None:
        async with room(home, workers=0, value_limit=2_000) as it, listening(it) as path:
            wire = await connect(path)
            refusals = {
                "UnknownTask": start_row("not there"),
                "ValueTooLarge": start_row(args=bytes(2_001)),
                "InvalidValue": start_row(stream=b"short"),
                "InvalidOption": start_row(options={"timeout": -1}),
            }
            for request, (kind, row) in enumerate(refusals.items(), 1):
                good = start_row(key=kind)
                assert (await started(wire, good, row, request=request))[0] == kind
                assert await started(wire, good, request=100 + request) is None, (
                    "its id and key are not used up"
                )
            await it.settle()
            assert len(it.rows(Table.TASKS)) == len(refusals)
            assert (await wire.ask(Ask.SEND, [(new_id(), bytes(2_001))], request=50))[0] == "ValueTooLarge"
            await wire.close()

    asyncio.run(story())


def test_before_the_app_has_loaded_starts_wait(home: Path):
    async def story() -> None:
        async with room(home, tasks={}, workers=0) as it, listening(it) as path:
            it.pool.app_ready.clear()
            wire = await connect(path)
            row = start_row()
            await wire.send((Ask.START, 1, [row]), (Ask.TREE, 2))
            await wire.answer(2)
            assert {frame[0] for frame in wire.frames} == {Answer.WELCOME, Answer.OK}
            assert wire.frames[-1][1] == 2
            it.table.declare({"quick": declared()})
            it.pool.app_ready.set()
            assert (await wire.answer(1))[0] == Answer.OK
            assert on_disk(it, row[0]) is State.QUEUED
            await wire.close()

    asyncio.run(story())


def test_without_an_app_nothing_is_taken(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire, waiting = await connect(path), await connect(path)
            row = start_row()
            await started(wire, row)
            await waiting.send((Ask.WAIT, 1, [row[0]]))
            await it.until(lambda: any(client.waits for client in it.service._clients))
            it.pool.app_error = AppFailed("the app cannot be loaded", "Traceback …")
            it.service.give_up(it.pool.app_error)
            assert (await waiting.answer(1))[2:4] == ("AppFailed", "the app cannot be loaded")
            for request, (op, fields) in enumerate(
                [(Ask.START, [[start_row()]]), (Ask.SEND, [[(row[0], b"x")]]), (Ask.WAIT, [[row[0]]])], 10
            ):
                for round in range(3):
                    kind, _ = await wire.ask(op, *fields, request=10 * request + round)
                    assert kind == "AppFailed"
            assert it.pool.app_error.__traceback__ is None, "it is raised many times and must not grow"
            assert await wire.ask(Ask.CANCEL, row[0], request=99) is True
            await wire.close()
            await waiting.close()

    asyncio.run(story())


def test_retry_makes_a_new_task_from_the_old_ones_checkpoint(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            row = start_row(args=b"args", options={"priority": 3})
            old = row[0]
            await started(wire, row)
            it.commits.put(Table.CHECKPOINTS, old, b"state")
            kind, message = await wire.ask(Ask.RETRY, old, new_id(), False, request=2)
            assert (kind, "only an ended task" in message) == ("InvalidOption", True)
            await wire.ask(Ask.CANCEL, old, request=3)
            new, scratch = new_id(), new_id()
            for request in (4, 5):  # asked twice, made once
                assert await wire.ask(Ask.RETRY, old, new, False, request=request) is None
            assert await wire.ask(Ask.RETRY, old, scratch, True, request=6) is None
            await it.settle()
            assert it.record(new).retry_of == old
            assert it.entry(new).options.priority == 3
            assert Assignment(*it.entry(new).assignment()).has_checkpoint
            assert not Assignment(*it.entry(scratch).assignment()).has_checkpoint
            assert dict(it.rows(Table.CHECKPOINTS)) == {old: b"state", new: b"state"}
            assert dict(it.rows(Table.ARGS)) == dict.fromkeys((old, new, scratch), b"args")
            assert (await wire.ask(Ask.RETRY, new_id(), new_id(), False, request=7))[0] == "TaskNotFound"
            assert (await wire.ask(Ask.RETRY, old, bytes(16), False, request=8))[0] == "InvalidValue"
            it.table.undeclare(it.record(old).name)
            assert await wire.ask(Ask.RETRY, old, absent := new_id(), False, request=9) is None
            await it.settle()
            assert it.record(absent).place == (Lane.CODE, code_sort(it.record(old).name))
            await it.service.prune(float("inf"))
            assert await wire.ask(Ask.RETRY, old, new, False, request=10) is None, "it was made before"
            await wire.close()

    asyncio.run(story())


# --- running it ---


def test_declare_is_for_embedded_supervisors(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            assert await wire.ask(Ask.DECLARE, ["one", "two"]) is None
            assert it.pool.modules == ["one", "two"]
            it.service._facts["embedded"] = False
            assert (await wire.ask(Ask.DECLARE, ["three"], request=2))[0] == "UnknownTask"
            await wire.close()

    asyncio.run(story())


def test_stop_is_answered_and_then_done(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            asked: list[bool] = []
            it.service.on_stop = asked.append
            assert await wire.ask(Ask.STOP, False) is None
            assert await wire.ask(Ask.STOP, True, request=2) is None
            assert asked == [False, True]
            await it.service.close("it is over")
            assert (await wire.until(Answer.GOODBYE))[0][1] == "it is over"
            assert await wire.last_words() is None
            await wire.close()

    asyncio.run(story())


def test_answers_that_nobody_has_asked_for_again_are_pruned(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            now, kept = time.time(), new_id()
            for id, expires in ((kept, now + 60), (id_floor(now - 7200) + bytes(10), now - 60)):
                for key, row in reply_rows(id, new_id(), expires, b"reply").items():
                    it.commits.put(Table.ACTORS, key, row)
            await it.settle()
            assert await wire.ask(Ask.PRUNE, True) == 0, "they are no tasks"
            await it.settle()
            assert [key for key, _ in it.rows(Table.ACTORS)] == [reply_key(kept)]
            await wire.close()

    asyncio.run(story())


def test_prune_and_compact(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it, listening(it) as path:
            wire = await connect(path)
            ids = [it.add(options={"keep": keep}) for keep in (0.0, 3600.0, None)]
            for id in ids:
                it.attempts.cancel(id)
            await it.settle()
            assert await wire.ask(Ask.PRUNE, False) == 1
            assert await wire.ask(Ask.PRUNE, True, request=2) == 1
            assert [id for id, _ in it.rows(Table.TASKS)] == [ids[2]], "what is to be kept for ever is"
            assert await wire.ask(Ask.COMPACT, request=3) is None
            await wire.close()

    asyncio.run(story())


@pytest.mark.parametrize("frame", [(Ask.PRUNE, 1, False), (Ask.COMPACT, 1), (Ask.DECLARE, 1, [])])
def test_a_request_that_has_not_begun_when_the_supervisor_stops_leaves_no_warning(
    home: Path, frame: tuple[Any, ...]
):
    async def story() -> None:
        async with room(home) as it:
            it.service.asked(it.service.connection(), frame)
            await it.service.close("it stops")
            gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(story())
    assert [str(warning.message) for warning in caught] == []


def test_while_the_disk_is_behind_nobodys_requests_are_read(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            it.service.read(False)
            late = await connect(path)
            for one in (wire, late):
                await one.send((Ask.TREE, 5))
            for _ in range(50):
                await asyncio.sleep(0)
            assert all(one.frames[-1][0] == Answer.WELCOME for one in (wire, late))
            it.service.read(True)
            for one in (wire, late):
                assert (await one.answer(5))[0] == Answer.OK
                await one.close()

    asyncio.run(story())


def test_what_a_client_asked_for_is_done_though_it_has_gone(home: Path):
    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            wire = await connect(path)
            row = start_row()
            await wire.send((Ask.START, 1, [row]))
            await wire.close()
            await it.until(lambda: it.table.record(row[0]) is not None)
            await it.settle()
            assert it.workers[0].told(Order.RUN)

    asyncio.run(story())


def test_a_damaged_record_costs_its_own_task_alone(home: Path, caplog):
    async def story() -> None:
        async with room(home, workers=0) as it:
            damaged, delayed, sound = it.add(), it.add(due=time.time() + 0.001), it.add()
            running = it.add()
            await it.settle()
        async with room(home, workers=0) as it:
            # As found on a disk that has turned bits over: not a record, and one with fields of other kinds.
            it.commits.put(Table.TASKS, damaged, b"\xff not a record")
            odd = it.record(delayed)
            odd.place = ("a lane", None)  # type: ignore[assignment]
            it.commits.put(Table.TASKS, delayed, odd.pack())
            await it.settle()
        async with room(home, workers=1) as it, listening(it) as path:
            await it.settle()
            (puppet,) = it.workers
            assert {assignment.id for assignment in puppet.begin()} == {sound, running}
            wire = await connect(path)
            for request, op in enumerate((Ask.CANCEL, Ask.CLOSE), 1):
                assert (await wire.ask(op, damaged, request=request))[0] == "StoreCorrupt"
            assert (await wire.ask(Ask.WAIT, [damaged], request=3))[0] == "StoreCorrupt"
            assert (await wire.ask(Ask.SEND, [(damaged, b"x")], request=4))[0] == "StoreCorrupt"
            assert await started(wire, start_row(), request=5) is None
            assert it.rows(Table.TASKS, damaged) == [(damaged, b"\xff not a record")], "left as it is"

    asyncio.run(story())
    assert "its rows are damaged" in caplog.text

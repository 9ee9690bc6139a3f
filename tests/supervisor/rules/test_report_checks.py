"""Workers that report anything at all: it costs the worker, and neither the supervisor nor another worker's task."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from room import Puppet, Room, room
from understudy.actors.attempt.item import item_body
from understudy.actors.errors import ProtocolError
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import Kind, Letter
from understudy.actors.state import State
from understudy.actors.step_label import call_label, key_label
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.storage.tables.schema import Lane
from understudy.supervisor.rules import report_checks
from understudy.supervisor.wire.messages import Report

DEEP: Any = b""
for _ in range(400):
    DEEP = [DEEP]

#: Values of every kind that a frame can hold.
WRONG: list[Any] = [
    *(None, True, -1, 0, 2**63, 2**64 - 1, 2.5, float("nan"), float("inf"), float("-inf"), 1e300),
    *(b"", b"x" * 15, b"\xff" * 16, bytes(17), "", "x" * 16, "\x00", "\x1b[31m"),
    *([], [None], [[]], [1, 2, 3], [b"x" * 16], {}, {"a": 1}, {1: 2}, [{}], [[b"x" * 16, b"y"]]),
    *([["a"] * 8], [[None] * 8], DEEP, {"deep": DEEP}),
]

ERROR = ("ValueError", "wrong", "Traceback", (("ValueError", "Exception"),))


LETTER = Letter(Kind.TELL, 0, new_id(), None).pack()


def good(op: Report, id: bytes, other: bytes) -> list[Any]:
    now = time.time()
    return {
        Report.DONE: [[(id, 1, None, ERROR, 0.5, 0, now, now)]],
        Report.PARKED: [[id], [id]],
        Report.TAKEN: [[(id, 1, 1)]],
        Report.CHECKPOINT: [7, id, b"value", 1, [[(other, b"letter")]]],
        Report.RESTORE: [8, id],
        Report.PROGRESS: [[(id, 1.0, 2.0, "note")]],
        Report.LOG: [id, [(now, "info", "text")]],
        Report.READY: [id, True],
        Report.STEP: [10, id, b"", call_label(b"app:work", 1), "app:work", b"value"],
        Report.STEPS: [11, id, key_label("key")],
        Report.STACK: [7, [("slot", "task", id, 0, [("/app.py", 3, "work", "pass")])]],
        Report.PUBLISH: [id, [item_body("token", 1, now, 100), item_body("token", 2, now, 100)]],
        Report.DROPPED: [int(Lane.SYNC)],
        Report.FAILED: ["no database", "Traceback"],
        Report.TURN: [
            id,
            1,
            b"state",
            [("key", b"value")],
            [[(other, LETTER, True)]],
            [("name", 1.0, 2.0, LETTER)],
            [(other, b"reply", True)],
            [(LETTER, ERROR)],
            [other],
        ],
        Report.READ: [9, id, "rows", "prefix", None, 10, False],
        Report.ASIDE: [id, other, b"reply"],
    }[op]


def places(value: Any, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """Where something can be put in a frame's fields, at any depth."""
    found = [path] if path else []
    if isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            found += places(inner, (*path, number))
    return found


def with_wrong(value: Any, path: tuple[int, ...], wrong: Any) -> Any:
    if not path:
        return wrong
    copied = list(value)
    copied[path[0]] = with_wrong(copied[path[0]], path[1:], wrong)
    return copied


def mistakes(op: Report) -> list[Callable[[list[Any]], list[Any]]]:
    """Each makes a report's good fields wrong in one way."""
    fields = good(op, new_id(), new_id())
    made = [partial(with_wrong, path=path, wrong=wrong) for path in places(fields) for wrong in WRONG]
    made += [partial(first_of, count=count) for count in range(len(fields))]
    return [*made, lambda fields: [*fields, None]]


def first_of(fields: list[Any], count: int) -> list[Any]:
    return fields[:count]


async def a_task_on(it: Room, puppet: Puppet) -> bytes:
    """A task that this worker has begun."""
    it.add("quick")
    await it.settle()
    puppet.begin()
    return next(reversed(puppet.seat.tasks))


@pytest.mark.parametrize("op", Report, ids=lambda op: op.name)
def test_wrong_fields_cost_the_worker_at_most(home: Path, op: Report):
    async def story() -> None:
        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with room(home, workers=0, slots=4) as it:
            other = it.add(due=time.time() + 1000)
            puppet = it.hire()
            id = await a_task_on(it, puppet)
            for mistake in mistakes(op):
                puppet.report(op, *mistake(good(op, id, other)))
                it.turn()
                await asyncio.sleep(0)
                if puppet.transport.closed:
                    # As the pool does: what hangs up is killed, and what it had is judged.
                    it.die(puppet)
                    puppet = it.hire()
                    id = await a_task_on(it, puppet)
                elif it.table.find(id) is None or it.entry(id).attempt is None:
                    id = await a_task_on(it, puppet)
            it.die(puppet)
            await it.settle()
            assert it.state(other) is State.QUEUED
            sound = it.hire()
            quick = it.add("quick")
            await it.settle()
            for assignment in sound.begin():
                sound.done(assignment.id, value=b"v")
            await it.settle()
            assert it.state(quick) is State.COMPLETED
            assert it.commits.store._writer.failure is None
        assert problems == []

    asyncio.run(story())
    assert check(home).problems == []
    with Reader(home) as reader:
        for record in reader.records(limit=None):
            assert record.progress is None or isinstance(record.progress[2], str)
            for _, lines in reader.logs(record.id):
                assert all(isinstance(text, str) for _, _, text in lines)


def test_frames_of_any_kind_at_random(home: Path):
    """Rows of several tasks mixed, ops that are none, numbers out of any range; seeded."""
    rng = random.Random(7)

    async def story() -> None:
        async with room(home, workers=0, slots=3) as it:
            puppet = it.hire()
            for _ in range(400):
                ids = list(puppet.seat.tasks) or [await a_task_on(it, puppet)]
                op = rng.choice(list(Report))
                fields: Any = good(op, rng.choice(ids), rng.choice([new_id(), *ids]))
                for _ in range(rng.randrange(3)):
                    fields = with_wrong(fields, rng.choice(places(fields) or [()]), rng.choice(WRONG))
                puppet.report(op, *(fields if isinstance(fields, list) else [fields]))
                if rng.randrange(20) == 0:
                    puppet.channel.data_received(rng.randbytes(rng.randrange(200)))
                it.turn()
                await asyncio.sleep(0)
                if puppet.transport.closed:
                    it.die(puppet)
                    puppet = it.hire()
            it.die(puppet)
            await it.settle()
            assert it.commits.store._writer.failure is None

    asyncio.run(story())
    assert check(home).problems == []


def test_a_row_that_cannot_be_leaves_the_task_to_the_death_of_its_worker(home: Path):
    async def story() -> None:
        async with room(home) as it:
            (puppet,) = it.workers
            id = await a_task_on(it, puppet)
            now = time.time()
            puppet.report(Report.DONE, [(id, 0, "text, where bytes must be", None, None, 0, now, now)])
            assert puppet.transport.closed
            assert it.entry(id).attempt.seat is puppet.seat, "still its, until it is dead"
            it.die(puppet)
            record = it.record(id)
            assert (record.state, record.error and record.error[0]) == (State.FAILED, "WorkerDied")

    asyncio.run(story())


def test_a_drop_is_confirmed_once(home: Path):
    async def story() -> None:
        async with room(home, slots=1) as it:
            (puppet,) = it.workers
            puppet.report(Report.DROPPED, int(Lane.SYNC))
            assert puppet.transport.closed, "or it would never be handed anything again"

    asyncio.run(story())


def test_values_beyond_the_limit_are_no_checkpoint(home: Path):
    report_checks.check_checkpoint(1, bytes(10), 0, [[(bytes(16), bytes(10))]], 10)
    for fields in ((1, bytes(11), 0, []), (1, b"", 0, [[(bytes(16), bytes(11))]])):
        with pytest.raises(ProtocolError):
            report_checks.check_checkpoint(*fields, 10)


def test_details_of_an_error_are_plain():
    def row(details: Any) -> tuple[Any, ...]:
        return (bytes(16), 1, None, (*ERROR, details), None, 0, 1.0, 2.0)

    plain = {"exit_code": 3, "signal": None, "oom_killed": False, "stdout": "x", "outputs": {"/data/x": "/x"}}
    report_checks.check_done((row(plain), row(plain)))
    report_checks.check_done(())
    for wrong in (None, [], {1: 2}, {"a": b"x"}, {"a": []}, {"a": {"b": 1}}, {"a": "x" * 2_000_000}):
        with pytest.raises(ProtocolError):
            report_checks.check_done((row(plain), row(wrong)))

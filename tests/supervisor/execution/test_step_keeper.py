"""Steps at the supervisor, with workers whose reports the test sends."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from actors_stage import Stage, built, commit, letter, on_stage, rest, turn
from understudy.actors.attempt.host import Assignment, Ending
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import Kind, id_of_letter
from understudy.actors.state import State
from understudy.actors.step_label import call_label, key_label
from understudy.storage.tables.actor_rows import letter_key
from understudy.storage.tables.schema import Table
from understudy.storage.tables.task_step_rows import step_key, steps_of, unpack_step
from understudy.supervisor.execution import step_keeper
from understudy.supervisor.wire.messages import Order, Report

LABEL = call_label(b"work", 1)
KEY = key_label("k")
FAILED = ("ValueError", "no", "", (), {})


def keep(worker: Any, request: int, id: bytes, letter: bytes = b"", label: bytes = LABEL) -> None:
    worker.report(Report.STEP, request, id, letter, label, "work", b"value")


def on_disk(stage: Stage, id: bytes) -> list[tuple[bytes, bytes]]:
    rows: list[tuple[bytes, bytes]] = stage.room.commits.store.scan(Table.ACTORS, *steps_of(id))
    return rows


async def a_task(stage: Stage, **options: Any) -> tuple[bytes, Any]:
    """A task that a worker has begun."""
    id = stage.room.add("quick", **options)
    await stage.room.settle()
    for worker in stage.room.workers:
        if worker.begin():
            return id, worker
    raise AssertionError("no worker was given the task")


def answers(worker: Any) -> dict[int, Any]:
    """The payloads of OKs and the classes of ERRORs, by request."""
    return {order[1]: order[2] for kind in (Order.OK, Order.ERROR) for order in worker.told(kind)}


@on_stage
async def test_a_step_of_a_task_is_answered_once_it_is_on_disk(stage: Stage) -> None:
    id, worker = await a_task(stage)
    keep(worker, 1, id)
    assert answers(worker) == {}
    assert on_disk(stage, id) == []
    await stage.room.settle()
    assert answers(worker) == {1: None}
    [(key, row)] = on_disk(stage, id)
    assert key == step_key(id, LABEL)
    assert unpack_step(row)[1:] == ("work", b"value")
    task = stage.room.table.tasks[id]
    assert task.record.steps == (1, 5)
    assert Assignment(*task.assignment()).steps == (1, 5, [(LABEL, b"value")], True)


@on_stage
async def test_the_next_attempt_is_given_them(stage: Stage) -> None:
    id, worker = await a_task(stage)
    keep(worker, 1, id)
    worker.done(id, Ending.INTERRUPTED)
    await stage.room.settle()
    for each in stage.room.workers:
        for assignment in each.begin():
            assert assignment.id == id
            assert assignment.steps == (1, 5, ((LABEL, b"value"),), True)
            each.report(Report.STEPS, 2, id, LABEL)
            each.report(Report.STEPS, 3, id, KEY)
            await stage.room.settle()
            assert answers(each)[2] == (((LABEL, b"value"),), True)
            assert answers(each)[3] == ((), True)
            return
    raise AssertionError("it did not run again")


@on_stage
async def test_what_is_refused(stage: Stage) -> None:
    id, worker = await a_task(stage)
    worker.report(Report.STEPS, 1, id, b"")
    keep(worker, 2, id, letter=new_id())
    keep(worker, 3, new_id())
    worker.report(Report.STEPS, 4, new_id(), b"")
    with patch.object(step_keeper, "STEPS_LIMIT", 0):
        keep(worker, 5, id)
    with patch.object(step_keeper, "STEPS_BYTES", 4):
        keep(worker, 6, id)
    with patch.object(step_keeper, "STEPS_LIMIT", 1), patch.object(step_keeper, "STEPS_BYTES", 5):
        keep(worker, 7, id)
    await stage.room.settle()
    assert answers(worker) == {
        1: ((), True),
        2: "NotInTask",
        3: "TaskNotFound",
        4: "TaskNotFound",
        5: "StepsFull",
        6: "StepsFull",
        7: None,
    }


# --- actors ---


@on_stage
async def test_a_step_of_an_actor_makes_its_message_durable(stage: Stage) -> None:
    id, _ = await built(stage)
    asked = letter(Kind.ASK)
    stage.ask(id, asked)
    worker = await turn(stage, id)
    store = stage.room.commits.store
    assert store.get(Table.ACTORS, letter_key(id, 1)) is None, "an ask is not on disk at first"
    keep(worker, 1, id, id_of_letter(asked))
    await stage.room.settle()
    assert store.get(Table.ACTORS, letter_key(id, 1)) == asked
    assert answers(worker)[1] is None
    assert [key for key, _ in on_disk(stage, id)] == [step_key(id, LABEL, id_of_letter(asked))]
    rest(worker, id, acked=1, state=b"1", replies=[(id_of_letter(asked), b"reply", True)])
    await stage.room.settle()
    assert on_disk(stage, id) == [], "they end with the commit of the message"
    actor = stage.actor(id)
    assert (actor.record.steps, actor.steps, actor.record.state) == (None, None, State.IDLE)


@on_stage
async def test_only_letters_of_the_turn_have_steps(stage: Stage) -> None:
    id, _ = await built(stage)
    first, second = letter(), letter()
    stage.tell(id, first, second)
    worker = await turn(stage, id)
    keep(worker, 1, id)
    keep(worker, 2, id, new_id())
    commit(worker, id, acked=1, state=b"1")
    keep(worker, 3, id, id_of_letter(first))
    keep(worker, 4, id, id_of_letter(second))
    await stage.room.settle()
    assert {number: answers(worker)[number] for number in (1, 2, 3, 4)} == {
        1: "NotInTask",
        2: "NotInTask",
        3: "NotInTask",
        4: None,
    }
    rest(worker, id, acked=2, state=b"2")
    await stage.room.settle()
    assert on_disk(stage, id) == []


@on_stage
async def test_a_turn_that_is_done_again_is_given_them(stage: Stage) -> None:
    id, _ = await built(stage)
    told = letter()
    stage.tell(id, told)
    worker = await turn(stage, id)
    keep(worker, 1, id, id_of_letter(told))
    await stage.room.settle()
    stage.room.die(worker)
    await stage.room.settle()
    for each in stage.room.workers:
        if each is not worker:
            for assignment in each.begin():
                assert assignment.turn is not None
                assert assignment.steps == (1, 5, ((id_of_letter(told) + LABEL, b"value"),), True)
                rest(each, id, acked=1, state=b"1")
                await stage.room.settle()
                assert on_disk(stage, id) == []
                return
    raise AssertionError("it did not run again")


@on_stage
async def test_a_dead_letter_keeps_them(stage: Stage) -> None:
    id, _ = await built(stage)
    told, other = letter(), letter()
    stage.tell(id, told, other)
    worker = await turn(stage, id)
    for number, each in enumerate((told, other)):
        keep(worker, number, id, id_of_letter(each))
    rest(worker, id, acked=2, state=b"1", dead=[(told, FAILED[:4])])
    await stage.room.settle()
    assert [key for key, _ in on_disk(stage, id)] == [step_key(id, LABEL, id_of_letter(told))]
    assert stage.actor(id).record.steps == (1, 5)

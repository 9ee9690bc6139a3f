"""Turns of class actors, with workers whose reports the test sends: what is on disk, who is answered, and when."""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from actors_stage import CLASSES, Stage, actor_class, built, commit, letter, on_stage, rest, turn
from room import consistent, room
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import (
    ActivationFailed,
    ActorDeadError,
    Deadlock,
    MailboxFull,
    Poisoned,
    TaskNotFound,
)
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import KEPT, READ_ONLY, WAITS, Kind, Letter, Op, id_of_letter
from understudy.actors.refs.port import PostKind
from understudy.actors.state import State
from understudy.storage.batch import Batch
from understudy.storage.tables.actor_rows import (
    dead_range,
    letters_of,
    reply_key,
    state_key,
    storage_key,
    unpack_dead,
)
from understudy.storage.tables.schema import Lane, Table
from understudy.supervisor.channel.wait_marks import WaitMarks
from understudy.supervisor.execution.letters import AT_ONCE, SEEN_MOST
from understudy.supervisor.execution.turns import TURN_BYTES
from understudy.supervisor.tasks.letter_box import EMPTY, WINDOW
from understudy.supervisor.wire.messages import Order, Report

FAILED = ("ValueError", "no", "", (), {})


def value(stage: Stage, table: Table, key: bytes) -> bytes | None:
    """A row on disk."""
    return stage.room.commits.store._environment.get(table, key)


@on_stage
async def test_an_actor_is_built_once_and_then_rests(stage: Stage) -> None:
    id = stage.start(args=b"args")
    assert stage.start() == id, "the same name is the same actor"
    worker = stage.room.workers[0]
    (assignment,) = await stage.begin(worker)
    assert (assignment.id, assignment.args, assignment.turn) == (id, b"args", (1, False, None, (), 0, 0, 1))
    rest(worker, id, state=b"0")
    await stage.room.settle()
    assert value(stage, Table.ACTORS, state_key(id)) == b"0"
    assert stage.room.state(id) is State.IDLE
    consistent(stage.room)


@on_stage
async def test_a_turn_has_the_letters_and_no_state_where_the_object_is(stage: Stage) -> None:
    id, worker = await built(stage)
    first, second = letter(), letter()
    stage.tell(id, first, second)
    (assignment,) = await stage.begin(worker)
    assert assignment.turn == (1, True, None, (first, second), 0, 0, 1)
    assert worker.messages(id) == [(1, first), (2, second)]
    rest(worker, id, 2, b"2")
    await stage.room.settle()
    assert value(stage, Table.ACTORS, state_key(id)) == b"2"
    assert stage.room.rows(Table.ACTORS, letters_of(id)[0]) == []


@on_stage
async def test_an_ask_is_answered_after_the_commit_and_costs_one(stage: Stage) -> None:
    id, worker = await built(stage)
    asked = letter(Kind.ASK)
    request = stage.ask(id, asked)
    await stage.begin(worker)
    assert stage.room.rows(Table.ACTORS, letters_of(id)[0]) == [], "an ask is not written when it comes"
    rest(worker, id, 1, b"1", replies=[(id_of_letter(asked), b"reply", True)])
    assert stage.client.answers == {}, "not before it is on disk"
    await stage.room.settle()
    assert stage.client.answers == {request: b"reply"}
    assert value(stage, Table.ACTORS, reply_key(id_of_letter(asked))) is not None


@on_stage
async def test_an_ask_that_comes_again_gets_the_same_answer(stage: Stage) -> None:
    id, worker = await built(stage)
    asked = letter(Kind.ASK)
    first = stage.ask(id, asked)
    again = stage.ask(id, asked)
    await stage.begin(worker)
    assert len(worker.messages(id)) == 1
    rest(worker, id, 1, b"1", replies=[(id_of_letter(asked), b"reply", True)])
    await stage.room.settle()
    late = stage.ask(id, asked)
    assert stage.client.answers == dict.fromkeys((first, again, late), b"reply")
    assert not await stage.begin(worker), "it is not done again"


@on_stage
async def test_an_answer_that_has_arrived_is_removed_with_the_next_commit(stage: Stage) -> None:
    id, worker = await built(stage)
    asked, later = letter(Kind.ASK), letter(Kind.ASK)
    stage.ask(id, asked)
    await stage.begin(worker)
    rest(worker, id, 1, b"1", replies=[(id_of_letter(asked), b"reply", True)])
    await stage.room.settle()
    stage.ask(id, later, seen=[id_of_letter(asked)])
    await stage.begin(worker)
    rest(worker, id, 2, b"2", replies=[(id_of_letter(later), b"reply", True)])
    await stage.room.settle()
    assert value(stage, Table.ACTORS, reply_key(id_of_letter(asked))) is None
    assert value(stage, Table.ACTORS, reply_key(id_of_letter(later))) is not None


@on_stage
async def test_an_ask_that_changed_nothing_commits_nothing(stage: Stage) -> None:
    id, worker = await built(stage)
    asked = letter(Kind.ASK)
    request = stage.ask(id, asked)
    await stage.begin(worker)
    before = stage.room.commits.store._bytes_sealed
    rest(worker, id, 1, replies=[(id_of_letter(asked), b"reply", False)])
    assert stage.client.answers == {request: b"reply"}, "at once: all that it saw is on disk"
    await stage.room.settle()
    assert stage.room.commits.store._bytes_sealed == before


@on_stage
async def test_an_ask_before_a_tell_is_on_disk_with_it(stage: Stage) -> None:
    id, _worker = await built(stage)
    asked, told = letter(Kind.ASK), letter()
    stage.ask(id, asked)
    stage.tell(id, told)
    await stage.room.settle()
    assert [row for _, row in stage.room.rows(Table.ACTORS, letters_of(id)[0])] == [asked, told]


@on_stage
async def test_letters_survive_the_supervisor_and_are_found_at_the_next_start(stage: Stage) -> None:
    id, _worker = await built(stage)
    asked, told = letter(Kind.ASK), letter()
    stage.ask(id, asked)
    stage.tell(id, told)
    await stage.room.settle()
    stage.room.close()
    async with room(stage.room.home, tasks=CLASSES) as it:
        again = Stage(it)
        it.attempts.recover()
        request = again.ask(id, asked)
        (assignment,) = await again.begin(it.workers[0])
        assert assignment.turn == (1, False, b"0", (asked, told), 0, 0, 1)
        assert it.workers[0].messages(id) == [(1, asked), (2, told)]
        rest(it.workers[0], id, 2, b"2", replies=[(id_of_letter(asked), b"reply", True)])
        await it.settle()
        assert again.client.answers == {request: b"reply"}


@on_stage
async def test_a_turn_whose_worker_dies_has_not_happened(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id, letter(), letter())
    await stage.begin(worker)
    stage.room.die(worker)
    other = next(each for each in stage.room.workers if each is not worker)
    (assignment,) = await stage.begin(other)
    assert assignment.turn is not None
    assert (*assignment.turn[1:3], len(assignment.turn[3])) == (False, b"0", 1), (
        "the state of before, and one letter at a time"
    )


@on_stage
async def test_the_letter_under_which_workers_die_is_a_dead_letter(stage: Stage) -> None:
    id, worker = await built(stage)
    asked, good = letter(Kind.ASK), letter()
    request = stage.ask(id, asked)
    stage.tell(id, good)
    await stage.begin(worker)
    stage.room.die(worker)
    for _ in range(3):
        assert request not in stage.client.answers, "of the first death, either letter may be guilty"
        worker = await turn(stage, id)
        stage.room.die(worker)
        stage.room.hire()
        await stage.room.settle()
    assert isinstance(stage.client.answers[request], Poisoned)
    ((_, row),) = stage.room.rows(Table.ACTORS, dead_range(id)[0])
    assert unpack_dead(row).letter == asked
    assert stage.actor(id).box.head(9) == [good]


@on_stage
async def test_each_letter_has_deaths_of_its_own(stage: Stage) -> None:
    id, worker = await built(stage)
    letters = [letter(), letter(), letter()]
    stage.tell(id, *letters)
    await stage.begin(worker)
    stage.room.die(worker)
    stage.room.hire()
    for n in range(1, 4):
        for _ in range(2):
            worker = await turn(stage, id)
            stage.room.die(worker)
            stage.room.hire()
        worker = await turn(stage, id)
        rest(worker, id, n, b"%d" % n)
        await stage.room.settle()
    assert stage.room.rows(Table.ACTORS, dead_range(id)[0]) == []
    assert stage.actor(id).record.crashes == 0


@on_stage
async def test_the_tries_of_a_letter_are_counted_wherever_the_object_is(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id, letter(), letter())
    for tries in range(3):
        await stage.room.until(lambda: stage.actor(id).timer is None)
        worker = await turn(stage, id)
        assignment = stage.actor(id).turn
        assert assignment is not None
        assert assignment[5] == tries
        worker.done(id, Ending.RETRY_LATER, delay=0.0)
        await stage.room.settle()
        stage.room.die(worker)
        stage.room.hire()
        assert stage.room.record(id).letter_tries == tries + 1, (
            "a supervisor that takes over goes on counting"
        )
    await stage.room.until(lambda: stage.actor(id).timer is None)
    rest(await turn(stage, id), id, 1, b"1")
    await stage.room.settle()
    assert stage.room.record(id).letter_tries == 0, "the next letter has tries of its own"


@on_stage
async def test_all_that_one_commit_of_an_actor_touches_is_in_one_table(stage: Stage) -> None:
    id, worker = await built(stage)
    other, _ = await built(stage, name="bob")
    stage.tell(id)
    asked = letter(Kind.ASK)
    stage.ask(id, asked)
    await stage.begin(worker)
    await stage.room.settle()
    commit(
        worker,
        id,
        2,
        b"1",
        rows=[("row", b"1")],
        posts=[[(other, letter(), PostKind.LETTER)]],
        reminders=[("later", time.time() + 60, None, letter(Kind.REMINDER))],
        replies=[(id_of_letter(asked), b"reply", True)],
        dead=[(letter(), ("Error", "", "", []))],
    )
    touched = {table for table, rows in stage.room.commits.store.batch.rows.items() if rows}
    assert touched == {Table.ACTORS}
    worker.done(id, Ending.REST)
    await stage.room.settle()


@on_stage
async def test_a_turn_is_given_64_messages_and_a_bounded_number_of_bytes(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id, *(letter() for _ in range(65)))
    (assignment,) = await stage.begin(worker)
    assert assignment.turn is not None
    assert len(assignment.turn[3]) == 64
    rest(worker, id, 64, b"64")
    large = Letter(Kind.TELL, 0, new_id(), None, Op.CALL, "deposit", bytes(TURN_BYTES // 3)).pack()
    stage.tell(id, *(large for _ in range(8)))
    (assignment,) = await stage.begin(worker)
    assert assignment.turn is not None
    assert 1 <= len(assignment.turn[3]) <= 3
    rest(worker, id, 64 + len(assignment.turn[3]), b"65")
    await stage.room.settle()


@on_stage
async def test_letters_told_leave_with_the_commit(stage: Stage) -> None:
    id, worker = await built(stage)
    other, _ = await built(stage, name="bob")
    stage.tell(id)
    told = letter(sender=id)
    await stage.begin(worker)
    assert stage.actor(other).box.count == 0
    rest(worker, id, 1, b"1", posts=[[(other, told, True)]])
    assert stage.actor(other).box.head(9) == [told]
    await stage.room.settle()
    assert [row for _, row in stage.room.rows(Table.ACTORS, letters_of(other)[0])] == [told]


@on_stage
async def test_a_letter_told_to_a_stopped_actor_is_a_dead_letter(stage: Stage) -> None:
    id, worker = await built(stage)
    gone, _ = await built(stage, name="gone")
    stage.turns.cancel(stage.actor(gone))
    stage.tell(id)
    await stage.begin(worker)
    rest(worker, id, 1, b"1", posts=[[(gone, letter(), True), (gone, b"\x01", False)]])
    await stage.room.settle()
    assert len(stage.room.rows(Table.ACTORS, dead_range(gone)[0])) == 2


@on_stage
async def test_letters_told_behind_a_stop_are_dead_letters(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.ask(id, letter(Kind.STOP))
    told = letter()
    stage.tell(id, told)
    asked = stage.ask(id, letter(Kind.ASK))
    await stage.begin(worker)
    commit(worker, id, 1)
    worker.done(id, Ending.VALUE)
    await stage.room.settle()
    assert isinstance(stage.client.answers[asked], ActorDeadError)
    ((_, row),) = stage.room.rows(Table.ACTORS, dead_range(id)[0])
    assert (unpack_dead(row).letter, unpack_dead(row).error[0]) == (told, "ActorDeadError")


@on_stage
async def test_a_tell_that_does_not_end_in_time_is_a_dead_letter(stage: Stage) -> None:
    id, worker = await built(stage)
    told = letter()
    stage.tell(id, told)
    await stage.begin(worker)
    actor = stage.actor(id)
    assert actor.suspect == actor.box.first
    stage.turns.interrupted(actor, timed_out=True)
    await stage.room.settle()
    ((_, row),) = stage.room.rows(Table.ACTORS, dead_range(id)[0])
    assert (unpack_dead(row).letter, unpack_dead(row).error[0]) == (told, "TimeoutError")


@on_stage
async def test_a_turn_whose_letters_do_not_fit_waits(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        id, worker = await built(stage)
        full, _ = await built(stage, name="full")
        stage.tell(full)
        with pytest.raises(MailboxFull):
            stage.tell(full)
        await stage.begin(worker)
        stage.tell(id)
        asked = letter(Kind.ASK)
        await stage.begin(worker)
        rest(worker, id, 1, b"1", posts=[[(full, asked, True)]])
        await it.settle()
        assert value(stage, Table.ACTORS, state_key(id)) == b"0", "nothing of it is kept"
        rest(worker, full, 1, b"1")
        await it.until(lambda: stage.actor(id).record.state is not State.IDLE)
        (assignment,) = await stage.begin(worker)
        assert assignment.turn is not None
        assert (*assignment.turn[1:3], len(assignment.turn[3])) == (False, b"0", 1)
        rest(worker, id, 1, b"1", posts=[[(full, letter(), True)]])
        await it.settle()
        assert value(stage, Table.ACTORS, state_key(id)) == b"1"


@on_stage
async def test_of_full_mailboxes_that_wait_for_each_other_one_message_fails(small: Stage) -> None:
    for kind in (Kind.TELL, Kind.ASK):
        await one_message_fails(small.room.home / kind.name, kind)


async def one_message_fails(home: Path, kind: Kind) -> None:
    async with room(home, tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        a, _ = await built(stage, name="a")
        b, _ = await built(stage, name="b")
        heads = [letter(kind), letter(kind)]
        requests = [stage.ask(id, head) for id, head in zip((a, b), heads, strict=True) if kind is Kind.ASK]
        for id, head in zip((a, b), heads, strict=True):
            if kind is Kind.TELL:
                stage.tell(id, head)
        sent = [letter(), letter()]
        worker = await turn(stage, a)
        for id, to, told in ((a, b, sent[0]), (b, a, sent[1])):
            rest(worker, id, 1, b"1", posts=[[(to, told, True)]])
            await it.settle()
        # That of b has failed, because it closed the circle. So there is room for what that of a sends.
        if kind is Kind.TELL:
            ((_, row),) = stage.room.rows(Table.ACTORS, dead_range(b)[0])
            assert (unpack_dead(row).letter, unpack_dead(row).error[0]) == (heads[1], "MailboxFull")
        else:
            assert isinstance(stage.client.answers[requests[1]], MailboxFull)
            assert requests[0] not in stage.client.answers
        assert stage.actor(b).box.count == 0
        worker = await turn(stage, a)
        rest(worker, a, 1, b"1", posts=[[(b, sent[0], True)]])
        await it.settle()
        assert value(stage, Table.ACTORS, state_key(a)) == b"1"
        assert stage.actor(b).box.head(9) == [sent[0]]


@on_stage
async def test_room_lets_the_one_that_waits_for_it_go_on_at_once(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        id, _ = await built(stage)
        full, worker = await built(stage, name="full")
        stage.tell(full)
        worker = await turn(stage, full)
        stage.tell(id)
        rest(await turn(stage, id), id, 1, b"1", posts=[[(full, letter(), True)]])
        await it.settle()
        stage.actor(id).failures = 30  # it would pause for a minute
        assert stage.actor(id).timer is not None
        rest(worker, full, 1, b"1")
        await it.settle()
        assert stage.actor(id).timer is None


@on_stage
async def test_letters_that_never_fit_go_into_an_empty_mailbox(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=2) as it:
        stage = Stage(it)
        id, worker = await built(stage)
        actor, _ = await built(stage, name="receiver")
        task = it.add()
        for n, posts in enumerate(([(task, b"x", False)] * 3, [(actor, letter(), True)] * 3), start=1):
            stage.tell(id)
            await stage.begin(worker)
            rest(worker, id, n, b"%d" % n, posts=[posts])
            await it.settle()
            assert value(stage, Table.ACTORS, state_key(id)) == b"%d" % n
        assert it.mailboxes.mailbox_of(it.entry(task)).count == 3
        assert stage.actor(actor).box.count == 3


@on_stage
async def test_storage_and_reminders_are_of_the_commit(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    reminder = letter(Kind.REMINDER)
    rest(worker, id, 1, rows=[("a", b"1"), ("b", b"2")], reminders=[("soon", 1.0, None, reminder)])
    await stage.room.settle()
    assert value(stage, Table.ACTORS, storage_key(id, "a")) == b"1"
    await stage.room.until(lambda: stage.actor(id).box.count)
    (sent,) = stage.actor(id).box.head(9)
    assert sent[0] == Kind.REMINDER
    assert id_of_letter(sent) != id_of_letter(reminder), "each time it comes it is another message"
    assert stage.turns.letters.reminders.first is None


@on_stage
async def test_reads_see_what_is_not_on_disk_yet(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    commit(worker, id, 1, rows=[("a", b"1"), ("b", b"2")])
    worker.report(Report.READ, 1, id, "row", "a", None, 1, False)
    worker.report(Report.READ, 2, id, "rows", "", None, 10, False)
    await stage.room.settle()
    assert worker.told(Order.OK) == [(Order.OK, 1, b"1"), (Order.OK, 2, (("a", b"1"), ("b", b"2")))]


@on_stage
async def test_an_idle_actor_is_put_to_rest_and_let_go_of(stage: Stage) -> None:
    id, worker = await built(stage, "Brief")
    await stage.room.until(lambda: id not in stage.room.table.tasks)
    assert worker.told(Order.FORGET) == [(Order.FORGET, (id,))]
    stage.tell(id)
    (assignment,) = await stage.begin(worker) or await stage.begin(stage.room.workers[1])
    assert assignment.turn is not None
    assert assignment.turn[1:3] == (False, b"0")


@on_stage
async def test_an_actor_at_rest_keeps_nothing_of_its_last_commit_in_memory(stage: Stage) -> None:
    id, worker = await built(stage)
    asked = letter(Kind.ASK)
    stage.ask(id, asked)
    await stage.begin(worker)
    rest(worker, id, 1, b"1", replies=[(id_of_letter(asked), b"reply", True)])
    await stage.room.settle()
    actor = stage.actor(id)
    held = [*gc.get_referents(actor), *gc.get_referents(actor.box)]
    assert not any(isinstance(each, Batch) for each in held), "the rows of a whole commit"
    assert not any(isinstance(each, deque) for each in held if each is not EMPTY)


@on_stage
async def test_a_class_with_a_hook_is_put_to_rest_by_a_turn(stage: Stage) -> None:
    id, worker = await built(stage, "Polite")
    await stage.room.until(lambda: stage.room.state(id) is not State.IDLE)
    (assignment,) = await stage.begin(worker)
    assert assignment.turn == (1, True, None, (), 1, 0, 1)
    rest(worker, id, state=b"1")
    await stage.room.until(lambda: id not in stage.room.table.tasks)


@on_stage
async def test_a_class_with_a_hook_is_put_to_rest_where_it_is(stage: Stage) -> None:
    id, worker = await built(stage, "Polite")
    (other,) = (each for each in stage.room.workers if each is not worker)
    busy = [stage.room.add() for _ in range(6)]
    await stage.room.settle()
    while (running := other.begin()) or worker.seat.working(Lane.SYNC) < 2:
        for each in running:
            other.done(each.id)
        await stage.room.settle()
    await stage.room.until(lambda: stage.room.state(id) is not State.IDLE)
    await stage.room.settle()
    assert id not in [each.id for each in other.begin()]
    assert len(busy) == 6


@on_stage
async def test_a_stopped_actor_answers_and_frees_its_name(stage: Stage) -> None:
    id, worker = await built(stage)
    stop, behind, told = letter(Kind.STOP), letter(Kind.ASK), letter()
    requests = [stage.ask(id, stop), stage.ask(id, behind)]
    stage.tell(id, told)
    await stage.begin(worker)
    commit(worker, id, 1, replies=[(id_of_letter(stop), b"done", True)])
    worker.done(id, Ending.VALUE, b"done")
    await stage.room.settle()
    assert stage.client.answers[requests[0]] == b"done"
    assert isinstance(stage.client.answers[requests[1]], ActorDeadError)
    assert stage.room.state(id) is State.COMPLETED
    with pytest.raises(ActorDeadError):
        stage.tell(id)
    assert stage.start() != id


@on_stage
async def test_an_actor_whose_worker_dies_behind_the_answer_to_a_stop_has_not_stopped(stage: Stage) -> None:
    """Otherwise it would be there for ever, and its asker would take it for gone."""
    id, worker = await built(stage)
    stop, before = letter(Kind.STOP), letter(Kind.ASK)
    requests = [stage.ask(id, before), stage.ask(id, stop)]
    await stage.begin(worker)
    commit(worker, id, 1, b"1", replies=[(id_of_letter(before), b"reply", True)])
    commit(worker, id, 2, b"2", replies=[(id_of_letter(stop), b"done", True)])
    await stage.room.settle()
    assert stage.client.answers == {requests[0]: b"reply"}
    assert value(stage, Table.ACTORS, state_key(id)) == b"1"
    stage.room.die(worker)
    worker = await turn(stage, id)
    assert stage.actor(id).box.head(9) == [stop]
    commit(worker, id, 2, b"2", replies=[(id_of_letter(stop), b"done", True)])
    worker.done(id, Ending.VALUE, b"done")
    await stage.room.settle()
    assert stage.client.answers[requests[1]] == b"done"
    assert stage.room.state(id) is State.COMPLETED


@on_stage
async def test_an_actor_that_cannot_be_built_answers_and_keeps_what_was_told(stage: Stage) -> None:
    id = stage.start()
    told, asked = letter(), letter(Kind.ASK)
    stage.tell(id, told)
    request = stage.ask(id, asked)
    worker = stage.room.workers[0]
    await stage.begin(worker)
    worker.done(id, Ending.ERROR, error=FAILED)
    await stage.room.settle()
    assert isinstance(stage.client.answers[request], ActivationFailed)
    assert [each for each in stage.actor(id).box.head(9) if each] == [told]
    await stage.room.until(lambda: stage.room.state(id) is State.QUEUED)
    (assignment,) = await stage.begin(worker) or await stage.begin(stage.room.workers[1])
    assert assignment.turn is not None
    assert assignment.turn[1:3] == (False, None)


@on_stage
async def test_an_activation_that_fails_is_the_answer_to_every_ask(stage: Stage) -> None:
    id = stage.start()
    asked = [letter(Kind.ASK) for _ in range(2 * WINDOW)]
    requests = [stage.ask(id, each) for each in asked]
    stage.tell(id)
    await stage.begin(stage.room.workers[0])
    stage.room.workers[0].done(id, Ending.ERROR, error=FAILED)
    await stage.room.settle()
    assert {type(stage.client.answers.get(request)) for request in requests} == {ActivationFailed}
    assert len([each for each in stage.actor(id).box.head(9) if each]) == 1


@on_stage
async def test_an_ask_that_was_answered_by_a_failed_activation_may_come_again(stage: Stage) -> None:
    id = stage.start()
    asked = letter(Kind.ASK)
    stage.ask(id, asked)
    stage.tell(id)
    await stage.room.settle()
    stage.room.close()
    async with room(stage.room.home, tasks=CLASSES, workers=1) as it:
        again = Stage(it)
        it.attempts.recover()
        await again.begin(it.workers[0])
        it.workers[0].done(id, Ending.ERROR, error=FAILED)
        await it.settle()
        again.ask(id, asked)
        assert again.actor(id).box.count == 2


@pytest.mark.parametrize("end", ["death", "timeout", "memory"])
def test_no_letter_is_to_blame_for_a_worker_that_builds(home: Path, end: str) -> None:
    @on_stage
    async def story(stage: Stage) -> None:
        id = stage.start()
        told = letter()
        stage.tell(id, told)
        actor = stage.actor(id)
        for n in range(3):
            asked = letter(Kind.ASK)
            request = stage.ask(id, asked)
            # A worker may die of something else: only the third death says that this actor cannot be built.
            for _ in range(3 if end == "death" and n == 0 else 1):
                assert request not in stage.client.answers
                await stage.room.until(lambda: actor.record.state is not State.IDLE)
                actor.most = 1
                worker = await turn(stage, id)
                marks = WaitMarks(os.dup(worker.channel.marks.fd))
                marks.builds(id)
                actor.options = actor.options.changed({"memory_limit": 1 << 24})
                if end != "death":
                    stage.room.attempts.kill(worker.seat, actor, end)
                    assert actor.attempt is not None
                    actor.attempt.signal = end
                stage.room.die(worker)
                marks.close()
                stage.room.hire()
                await stage.room.settle()
            assert isinstance(stage.client.answers[request], ActivationFailed)
            assert [each for each in actor.box.head(9) if each] == [told]
            assert actor.failures == n + 1, "it pauses longer each time"
        assert actor.record.error is not None
        expected = {"death": "WorkerDied", "timeout": "TimeoutError", "memory": "MemoryLimit"}
        assert actor.record.error[0] == expected[end]
        await stage.room.until(lambda: actor.record.state is State.QUEUED)
        rest(await turn(stage, id), id, 1, b"1")
        await stage.room.settle()
        assert actor.record.error is None

    story(home)


@on_stage
async def test_the_ask_that_closes_a_circle_is_refused(stage: Stage) -> None:
    ids = [(await built(stage, name=name))[0] for name in "abc"]
    a, b, c = ids
    stage.ask(b, letter(Kind.ASK, flags=WAITS, sender=a))
    stage.ask(c, letter(Kind.ASK, flags=WAITS, sender=b))
    with pytest.raises(Deadlock, match="Account/c -> Account/a -> Account/b -> Account/c"):
        stage.ask(a, letter(Kind.ASK, flags=WAITS, sender=c))
    with pytest.raises(Deadlock):
        stage.ask(a, letter(Kind.ASK, flags=WAITS, sender=a))
    stage.ask(a, letter(Kind.ASK, flags=WAITS | READ_ONLY, sender=c))
    stage.ask(a, letter(Kind.ASK, sender=c))


@on_stage
async def test_a_method_that_waits_for_several_answers_hides_no_circle(stage: Stage) -> None:
    a, b, c = [(await built(stage, name=name))[0] for name in "abc"]
    stage.ask(b, letter(Kind.ASK, flags=WAITS, sender=a))
    stage.ask(c, letter(Kind.ASK, flags=WAITS, sender=a))
    with pytest.raises(Deadlock, match="Account/b -> Account/a -> Account/b"):
        stage.ask(a, letter(Kind.ASK, flags=WAITS, sender=b))
    with pytest.raises(Deadlock, match="Account/c -> Account/a -> Account/c"):
        stage.ask(a, letter(Kind.ASK, flags=WAITS, sender=c))


def beside(peek: bytes, sender: bytes) -> bytes:
    """An ask of a read-only method that runs beside another one of its actor."""
    return Letter(Kind.ASK, WAITS, new_id(), sender, Op.CALL, "deposit", beside=id_of_letter(peek)).pack()


@on_stage
async def test_what_a_read_only_method_waits_for_hides_no_circle(stage: Stage) -> None:
    a, worker = await built(stage, name="a")
    b, c, d = [(await built(stage, name=name))[0] for name in "bcd"]
    stage.tell(a)
    await stage.begin(worker)
    worker.report(Report.PARKED, [a], [])
    stage.ask(b, letter(Kind.ASK, flags=WAITS, sender=a))
    peek = letter(Kind.ASK, flags=WAITS | READ_ONLY, sender=d)
    stage.ask(a, peek)
    stage.ask(c, beside(peek, a))
    with pytest.raises(Deadlock, match="Account/b -> Account/a -> Account/b"):
        stage.ask(a, letter(Kind.ASK, flags=WAITS, sender=b))
    with pytest.raises(Deadlock, match="Account/c -> Account/d -> Account/a -> Account/c"):
        stage.ask(d, letter(Kind.ASK, flags=WAITS, sender=c))
    waits_for_a = letter(Kind.ASK, flags=WAITS, sender=c)
    stage.ask(a, waits_for_a)
    assert id_of_letter(waits_for_a) in stage.requests.asks, (
        "the method that waits for c runs beside that of a"
    )
    with pytest.raises(Deadlock, match="Account/b -> Account/c -> Account/a -> Account/b"):
        stage.ask(c, letter(Kind.ASK, flags=WAITS, sender=b))


@on_stage
async def test_one_that_waits_no_longer_closes_no_circle(stage: Stage) -> None:
    a, b = [(await built(stage, name=name))[0] for name in "ab"]
    request = stage.ask(b, letter(Kind.ASK, flags=WAITS, sender=a))
    client: Any = stage.client
    stage.requests.forget(client, request)
    stage.ask(a, letter(Kind.ASK, flags=WAITS, sender=b))


@on_stage
async def test_a_circle_is_found_when_an_actor_begins_to_wait_for_what_it_has_asked(stage: Stage) -> None:
    a, b = [(await built(stage, name=name))[0] for name in "ab"]
    for closing_one_waits_first in (True, False):
        asked = letter(Kind.ASK, sender=a)
        first = stage.ask(b, asked)
        waited_for = asked[:1] + bytes([WAITS]) + asked[2:]
        back = letter(Kind.ASK, flags=WAITS, sender=b)
        steps = [(a, back), (b, waited_for)]
        (one, its_ask), (other, closing) = steps if closing_one_waits_first else steps[::-1]
        stage.ask(one, its_ask)
        with pytest.raises(Deadlock):
            stage.ask(other, closing)
        stage.requests.asks.answer(id_of_letter(back), b"reply")
        stage.requests.asks.answer(id_of_letter(asked), b"reply")
        assert stage.client.answers[first] == b"reply", "the ask itself stands"


@on_stage
async def test_a_read_only_letter_goes_to_a_method_that_waits(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    peek = letter(Kind.ASK, flags=READ_ONLY)
    early = stage.ask(id, peek)
    assert worker.told(Order.ASIDE) == []
    worker.report(Report.PARKED, [id], [])
    late = letter(Kind.ASK, flags=READ_ONLY)
    request = stage.ask(id, late)
    await stage.room.settle()
    assert worker.told(Order.ASIDE) == [(Order.ASIDE, id, peek), (Order.ASIDE, id, late)]
    for each in (peek, late):
        worker.report(Report.ASIDE, id, id_of_letter(each), b"reply", [])
    assert stage.client.answers == {early: b"reply", request: b"reply"}
    rest(worker, id, 1, b"1")
    assert not await stage.begin(worker), "they are not done again"


@on_stage
async def test_read_only_letters_far_behind_are_given_to_a_method_that_waits(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id, *(letter() for _ in range(2 * WINDOW)))
    await stage.begin(worker)
    peek = letter(Kind.ASK, flags=READ_ONLY)
    request = stage.ask(id, peek)
    worker.report(Report.PARKED, [id], [])
    await stage.room.settle()
    assert worker.told(Order.ASIDE) == [(Order.ASIDE, id, peek)]
    worker.report(Report.ASIDE, id, id_of_letter(peek), b"reply", [])
    assert stage.client.answers == {request: b"reply"}
    assert stage.actor(id).box.reads() == []


@on_stage
async def test_a_sender_without_the_class_need_not_know_what_is_read_only(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.report(Report.PARKED, [id], [])
    for path in ("deposit", "peek"):
        stage.ask(id, Letter(Kind.ASK, 0, new_id(), None, Op.CALL, path).pack())
    await stage.room.settle()
    ((_, _, aside),) = worker.told(Order.ASIDE)
    assert Letter.unpack(aside).path == "peek"


@on_stage
async def test_a_key_makes_a_tell_come_once(stage: Stage) -> None:
    id, worker = await built(stage)
    keyed = letter(flags=KEPT, id=b"\xff" * 6 + bytes(10))
    stage.tell(id, keyed)
    await stage.begin(worker)
    rest(worker, id, 1, b"1")
    await stage.room.settle()
    stage.tell(id, keyed)
    assert stage.actor(id).box.count == 0


@on_stage
async def test_an_actor_without_durable_state_dies_with_its_worker(stage: Stage) -> None:
    id, worker = await built(stage, "Volatile")
    request = stage.ask(id)
    await stage.begin(worker)
    stage.room.die(worker)
    await stage.room.settle()
    assert isinstance(stage.client.answers[request], ActorDeadError)
    assert stage.room.state(id) is State.FAILED
    resting, worker = await built(stage, "Volatile", "other")
    stage.room.die(worker)
    await stage.room.settle()
    assert stage.room.state(resting) is State.FAILED


@on_stage
async def test_the_answer_to_a_stop_comes_once_the_end_is_on_disk(stage: Stage) -> None:
    id, worker = await built(stage, "Volatile")
    stop = letter(Kind.STOP)
    request = stage.ask(id, stop)
    await stage.begin(worker)
    commit(worker, id, 1, replies=[(id_of_letter(stop), b"True", False)])
    worker.done(id, Ending.VALUE)
    assert stage.client.answers == {}
    await stage.room.until(lambda: request in stage.client.answers)
    assert stage.room.record(id).state is State.COMPLETED


@on_stage
async def test_an_actor_without_durable_state_writes_no_letters(stage: Stage) -> None:
    id, worker = await built(stage, "Volatile")
    before = stage.room.commits.store._bytes_sealed
    stage.tell(id)
    asked = letter(Kind.ASK)
    request = stage.ask(id, asked)
    await stage.begin(worker)
    rest(worker, id, 2, replies=[(id_of_letter(asked), b"reply", True)])
    await stage.room.settle()
    assert stage.client.answers == {request: b"reply"}
    assert stage.room.commits.store._bytes_sealed == before


@on_stage
async def test_a_method_that_does_not_end_in_time_has_failed(stage: Stage) -> None:
    id, worker = await built(stage, "Slow")
    asked, good = letter(Kind.ASK), letter()
    request = stage.ask(id, asked)
    stage.tell(id, good)
    for _ in range(2):
        worker = await turn(stage, id)
        pid = worker.channel.pid
        await stage.room.until(lambda pid=pid: pid in stage.room.killed)
        stage.room.die(worker)
        stage.room.hire()
    await stage.room.settle()
    assert b"took longer" in stage.client.answers[request]
    assert stage.actor(id).box.head(9) == [good]


@on_stage
async def test_the_letter_that_takes_long_is_the_one_that_has_failed(stage: Stage) -> None:
    """It stood behind others in its turn, which are done."""
    id, worker = await built(stage, "Slow")
    done, slow, behind = letter(Kind.ASK), letter(Kind.ASK), letter(Kind.ASK)
    requests = [stage.ask(id, each) for each in (done, slow, behind)]
    await stage.begin(worker)
    first = stage.actor(id).box.first
    worker.report(Report.TAKEN, [(id, first + 1, first)])
    commit(worker, id, first, b"1", replies=[(id_of_letter(done), b"done", True)])
    await stage.room.settle()
    assert stage.client.answers == {requests[0]: b"done"}
    pid = worker.channel.pid
    await stage.room.until(lambda: pid in stage.room.killed)
    stage.room.die(worker)
    await stage.room.settle()
    assert b"took longer" in stage.client.answers[requests[1]]
    assert stage.actor(id).box.head(9) == [behind]


@on_stage
async def test_a_cancelled_actor_is_gone(stage: Stage) -> None:
    id, worker = await built(stage)
    assert stage.room.attempts.cancel(id)
    await stage.room.settle()
    assert stage.room.state(id) is State.CANCELLED
    assert worker.told(Order.FORGET) == [(Order.FORGET, (id,))]
    assert stage.turns.letters.of_name("Account", "ada") is None


@on_stage
async def test_a_worker_without_the_object_is_given_the_state(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.done(id, Ending.ABSENT)
    (assignment,) = await stage.begin(worker) or await stage.begin(stage.room.workers[1])
    assert assignment.turn is not None
    assert assignment.turn[1:3] == (False, b"0")


@on_stage
async def test_a_task_is_no_actor(stage: Stage) -> None:
    id = stage.room.add("quick")
    with pytest.raises(TaskNotFound, match="is a task"):
        stage.tell(id)
    with pytest.raises(TaskNotFound):
        stage.ask(new_id())


@on_stage
async def test_an_actor_takes_turns_with_tasks(stage: Stage) -> None:
    id, _worker = await built(stage)
    stage.tell(id)
    tasks = [stage.room.add("quick") for _ in range(20)]
    await stage.room.settle()
    begun = [each for each in stage.room.workers for each in each.begin()]
    assert id in [each.id for each in begun], f"not behind {len(tasks)} tasks"
    assert len(begun) > 1


@on_stage
async def test_an_actor_keeps_its_name_when_its_class_is_renamed(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.room.table.declare({"Renamed": {**actor_class(), "aliases": ["Account"]}})
    stage.room.table.declared.drop("Account")
    assert stage.start("Renamed") == id
    stop = letter(Kind.STOP)
    stage.ask(id, stop)
    await stage.begin(worker)
    commit(worker, id, 1, replies=[(id_of_letter(stop), b"done", True)])
    worker.done(id, Ending.VALUE)
    await stage.room.settle()
    assert stage.start("Renamed") != id


@on_stage
async def test_an_actor_that_ran_when_the_supervisor_died_is_found_at_rest_later(stage: Stage) -> None:
    id, worker = await built(stage, "Brief")
    stage.ask(id)
    await stage.begin(worker)
    stage.room.attempts.begun(worker.seat, Lane.SYNC, stage.actor(id))
    await stage.room.settle()
    assert stage.room.state(id) is State.RUNNING
    stage.room.close()
    async with room(stage.room.home, tasks=CLASSES) as it:
        again = Stage(it)
        it.attempts.recover()
        # Its letter was an ask, which is not on disk, so that the turn has nothing to do.
        await again.begin(it.workers[0])
        rest(it.workers[0], id)
        await it.until(lambda: id not in it.table.tasks)
        again.tell(id)
        assert await again.begin(it.workers[0]), "it gets a turn"
        consistent(it)


@on_stage
async def test_actors_without_code_do_not_keep_others_from_their_letters(stage: Stage) -> None:
    for _ in range(AT_ONCE + 1):
        stage.tell(stage.start("Absent", None))
    id = stage.start()
    stage.tell(id)
    await stage.room.settle()
    stage.room.close()
    async with room(
        stage.room.home, tasks={name: CLASSES[name] for name in CLASSES if name != "Absent"}
    ) as it:
        again = Stage(it)
        it.attempts.recover()
        (assignment,) = await again.begin(it.workers[0])
        assert assignment.id == id


@on_stage
async def test_a_message_that_takes_too_much_memory_has_failed(stage: Stage) -> None:
    id, worker = await built(stage)
    asked, good = letter(Kind.ASK), letter()
    request = stage.ask(id, asked)
    stage.tell(id, good)
    for _ in range(2):
        worker = await turn(stage, id)
        stage.actor(id).options = stage.actor(id).options.changed({"memory_limit": 1 << 24})
        stage.room.attempts.over_memory(worker.seat)
        stage.room.die(worker)
        stage.room.hire()
    await stage.room.settle()
    assert b"MemoryLimit" in stage.client.answers[request]
    assert stage.actor(id).box.head(9) == [good]


@on_stage
async def test_a_letter_that_came_while_it_was_put_to_rest_is_not_to_blame(stage: Stage) -> None:
    id, worker = await built(stage, "Polite")
    for _ in range(4):
        actor = stage.actor(id)
        actor.most, actor.passivate = 1, True
        stage.turns._ready(actor)
        worker = await turn(stage, id)
        assert actor.turn is not None
        if not actor.turn[4]:
            rest(worker, id, state=b"0")
            continue
        told = letter()
        stage.tell(id, told)
        assert actor.attempt is not None
        actor.attempt.signal = "timeout"
        stage.room.attempts.kill(worker.seat, actor, "timeout")
        stage.room.die(worker)
        await stage.room.settle()
        assert stage.actor(id).box.head(9) == [told]
        return
    raise AssertionError("it was not put to rest")


@on_stage
async def test_a_key_makes_a_letter_of_a_method_come_once(stage: Stage) -> None:
    id, worker = await built(stage)
    target, _ = await built(stage, name="target")
    keyed = letter(flags=KEPT, id=b"\xff" * 6 + bytes(10))
    for n in (1, 2):
        stage.tell(id)
        await stage.begin(worker)
        rest(worker, id, n, str(n).encode(), posts=[[(target, keyed, True)]])
        await stage.room.settle()
    assert stage.actor(target).box.last == 1


@on_stage
async def test_an_answer_on_its_way_to_disk_is_not_given_to_one_who_asks_again(stage: Stage) -> None:
    id, _worker = await built(stage)
    asked, told = letter(Kind.ASK), letter()
    stage.ask(id, asked)
    stage.tell(id, told)
    await stage.room.settle()
    stage.room.close()
    async with room(stage.room.home, tasks=CLASSES) as it:
        again = Stage(it)
        it.attempts.recover()
        await again.begin(it.workers[0])
        rest(it.workers[0], id, 2, b"2", replies=[(id_of_letter(asked), b"reply", True)])
        request = again.ask(id, asked)
        assert again.client.answers == {}, "not before it is on disk"
        await it.settle()
        assert again.client.answers == {request: b"reply"}


@on_stage
async def test_a_read_only_answer_waits_for_what_it_has_sent(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.report(Report.PARKED, [id], [])
    peek = letter(Kind.ASK, flags=READ_ONLY)
    request = stage.ask(id, peek)
    target, _ = await built(stage, name="target")
    worker.report(Report.ASIDE, id, id_of_letter(peek), b"reply", [[(target, letter(), True)]])
    assert stage.client.answers == {}
    await stage.room.settle()
    assert stage.client.answers == {request: b"reply"}
    again = stage.ask(id, peek)
    assert stage.client.answers[again] == b"reply", "it is not sent a second time"
    assert stage.actor(target).box.count == 1


@on_stage
async def test_a_read_only_answer_waits_for_room_for_what_it_sends(small: Stage) -> None:
    for how in ("room", "end of the turn", "end of the actor"):
        await a_read_only_answer_waits(small.room.home / how, how)


async def a_read_only_answer_waits(home: Path, how: str) -> None:
    async with room(home, tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        id, worker = await built(stage)
        full, _ = await built(stage, name="full")
        stage.tell(full)
        await stage.begin(worker)
        peek = letter(Kind.ASK, flags=READ_ONLY)
        stage.tell(id)
        await stage.begin(worker)
        worker.report(Report.PARKED, [id], [])
        request = stage.ask(id, peek)  # it needs no room in the mailbox, which is full
        sent = letter()
        worker.report(Report.ASIDE, id, id_of_letter(peek), b"reply", [[(full, sent, True)]])
        await it.settle()
        assert stage.client.answers == {}
        assert stage.actor(full).box.count == 1
        if how == "room":
            rest(worker, full, 1, b"1")
            await it.settle()
            assert stage.client.answers == {request: b"reply"}
            assert stage.actor(full).box.head(9) == [sent]
            rest(worker, id, 1, b"1")
        elif how == "end of the turn":
            rest(worker, id, 1, b"1")
            await it.settle()
            assert stage.actor(id).box.head(9) == [peek], "it is done again"
        else:
            stage.turns.cancel(stage.actor(id))
            await it.settle()
            assert isinstance(stage.client.answers[request], ActorDeadError)
        assert stage.turns._held == {}
        assert stage.turns.waits.rooms._room_of == {}


@on_stage
async def test_the_ask_that_closes_a_circle_through_a_full_mailbox_is_refused(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        a, _ = await built(stage, name="a")
        b, worker = await built(stage, name="b")
        stage.tell(a)
        stage.tell(b)
        await stage.begin(worker)
        rest(worker, b, 1, b"1", posts=[[(a, letter(), True)]])
        await it.settle()
        for flags in (WAITS, WAITS | READ_ONLY):
            with pytest.raises(Deadlock, match="Account/a -> Account/b -> Account/a"):
                stage.ask(b, letter(Kind.ASK, flags=flags, sender=a))
        assert stage.actor(b).box.count == 1
        # Its method goes on without the answer, and there is room.
        rest(worker, a, 1, b"1")
        worker = await turn(stage, b)
        rest(worker, b, 1, b"1", posts=[[(a, letter(), True)]])
        await it.settle()
        assert value(stage, Table.ACTORS, state_key(b)) == b"1"


@on_stage
async def test_a_message_for_a_full_mailbox_whose_actor_waits_for_it_fails(small: Stage) -> None:
    for flags in (WAITS, WAITS | READ_ONLY):
        async with room(small.room.home / str(flags), tasks=CLASSES, workers=1, mailbox_messages=2) as it:
            stage = Stage(it)
            a, _ = await built(stage, name="a")
            b, _ = await built(stage, name="b")
            c, worker = await built(stage, name="c")
            stage.tell(a)
            head = letter(Kind.ASK)
            request = stage.ask(b, head)
            stage.tell(c)
            await stage.begin(worker)
            stage.tell(a)
            # a waits for c, which waits for b, which sends to a.
            stage.ask(c, letter(Kind.ASK, flags=WAITS, sender=a))
            stage.ask(b, letter(Kind.ASK, flags=flags, sender=c))
            for _ in range(2):  # with several messages in a turn it is not known which of them it was
                rest(worker, b, 1, b"1", posts=[[(a, letter(), True)]])
                await it.settle()
                if request not in stage.client.answers:
                    worker = await turn(stage, b)
            failed = stage.client.answers[request]
            assert isinstance(failed, MailboxFull)
            assert "Account/b -> Account/a -> Account/c -> Account/b" in str(failed)
            assert stage.actor(a).box.count == 2


@on_stage
async def test_a_read_only_message_whose_asker_waits_in_the_full_mailbox_fails(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        a, _ = await built(stage, name="a")
        b, worker = await built(stage, name="b")
        stage.tell(a)
        stage.tell(b)
        await stage.begin(worker)
        worker.report(Report.PARKED, [a], [])
        peek = letter(Kind.ASK, flags=WAITS | READ_ONLY, sender=b)
        request = stage.ask(a, peek)
        worker.report(Report.ASIDE, a, id_of_letter(peek), b"reply", [[(b, letter(), True)]])
        await it.settle()
        failed = stage.client.answers[request]
        assert isinstance(failed, MailboxFull)
        assert "Account/a -> Account/b -> Account/a" in str(failed)
        assert stage.actor(a).aside == {}
        assert stage.turns.waits.rooms._room_of == {}


@on_stage
async def test_an_actor_without_durable_state_keeps_its_object_whatever_it_sends(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        id, worker = await built(stage, "Volatile")
        full = it.add("quick", due=time.time() + 3600)
        it.mailboxes.send([(full, b"\x01")])
        asked = letter(Kind.ASK)
        request = stage.ask(id, asked)
        await stage.begin(worker)
        rest(worker, id, 1, posts=[[(full, b"\x02", False)]], replies=[(id_of_letter(asked), b"reply", True)])
        await it.settle()
        assert stage.client.answers == {request: b"reply"}
        assert worker.told(Order.FORGET) == []


@on_stage
async def test_a_read_only_answer_under_a_key_is_kept(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.report(Report.PARKED, [id], [])
    peek = letter(Kind.ASK, flags=READ_ONLY | KEPT, id=b"\xff" * 6 + bytes(10))
    requests = [stage.ask(id, peek)]
    worker.report(Report.ASIDE, id, id_of_letter(peek), b"reply", [])
    await stage.room.settle()
    requests.append(stage.ask(id, peek))
    await stage.room.settle()
    assert stage.client.answers == dict.fromkeys(requests, b"reply")


@on_stage
async def test_a_reminder_of_a_damaged_actor_does_not_keep_others_from_theirs(stage: Stage) -> None:
    store, room = stage.room.commits.store, stage.room
    damaged, _ = await built(stage, "Brief")
    id, _ = await built(stage)
    await room.until(lambda: damaged not in room.table.tasks)
    store.put(Table.TASKS, damaged, b"damaged")
    for each in (damaged, id):
        stage.turns.letters.reminders.set(each, "now", 1.0, None, letter(Kind.REMINDER))
    stage.turns.letters.set_alarm()
    await room.until(lambda: stage.actor(id).box.count)
    stage.turns.letters.reminders.set(id, "again", 2.0, None, letter(Kind.REMINDER))
    stage.turns.letters.set_alarm()
    await room.until(lambda: stage.actor(id).box.count == 2)


@on_stage
async def test_each_class_has_its_own_time_of_rest(stage: Stage) -> None:
    await built(stage, "Lasting")
    id, _ = await built(stage, "Brief")
    await stage.room.until(lambda: id not in stage.room.table.tasks)


@on_stage
async def test_an_actor_without_durable_state_does_not_wait_for_a_full_mailbox(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=1, mailbox_messages=1) as it:
        stage = Stage(it)
        id, worker = await built(stage, "Volatile")
        task = it.add()
        stage.tell(id)
        await stage.begin(worker)
        rest(worker, id, 1, posts=[[(task, b"x", False), (task, b"x", False)]])
        await it.settle()
        assert stage.actor(id).box.count == 0, "its turn cannot be done again"
        assert it.mailboxes.mailbox_of(it.entry(task)).count == 2


@on_stage
async def test_a_message_that_nobody_takes_harms_neither_worker_nor_disk(stage: Stage) -> None:
    id, worker = await built(stage)
    target, _ = await built(stage, name="target")
    stage.tell(id)
    await stage.begin(worker)
    posts = [(target, b"x", False), (new_id(), b"x", False), (new_id(), letter(), True)]
    rest(worker, id, 1, b"1", posts=[posts])
    await stage.room.settle()
    assert not worker.transport.closed
    ((_, row),) = [each for each in stage.room.rows(Table.ACTORS, b"\x01") if each[0][17:18] == b"\x04"]
    assert unpack_dead(row).error[0] == "MailboxClosed", "that of the actor, which takes letters only"
    assert stage.room.rows(Table.ACTORS, dead_range(target)[0])


@on_stage
async def test_a_damaged_record_ends_neither_the_worker_of_a_sender_nor_the_start(stage: Stage) -> None:
    damaged, _ = await built(stage, "Brief", "damaged")
    volatile, _ = await built(stage, "Volatile")
    id, worker = await built(stage)
    await stage.room.until(lambda: damaged not in stage.room.table.tasks)
    stage.room.commits.put(Table.TASKS, damaged, b"damaged")
    stage.tell(id)
    await stage.begin(worker)
    rest(worker, id, 1, b"1", posts=[[(damaged, letter(), True), (damaged, b"x", False)]])
    await stage.room.settle()
    assert not worker.transport.closed
    stage.room.commits.put(Table.TASKS, volatile, b"damaged")
    stage.room.commits.close()
    async with room(stage.room.home, tasks=CLASSES) as it:
        it.attempts.recover()


@on_stage
async def test_any_number_of_read_only_letters_goes_to_one_method_that_waits(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.report(Report.PARKED, [id], [])
    for n in range(3 * WINDOW):
        peek = letter(Kind.ASK, flags=READ_ONLY)
        request = stage.ask(id, peek)
        if n % WINDOW == 0:
            stage.turns.letters._write_asks()
        worker.report(Report.ASIDE, id, id_of_letter(peek), b"reply", [])
        assert stage.client.answers[request] == b"reply", "at once, however long the method waits"
    assert stage.actor(id).aside == {}
    assert stage.actor(id).box.count == 1


@on_stage
async def test_what_a_method_was_given_aside_and_has_not_answered_gets_a_turn(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.report(Report.PARKED, [id], [])
    peek = letter(Kind.ASK, flags=READ_ONLY)
    request = stage.ask(id, peek)
    rest(worker, id, 1, b"1")
    assert await stage.begin(worker)
    assert worker.messages(id)[-1] == (2, peek)
    rest(worker, id, 2, replies=[(id_of_letter(peek), b"reply", False)])
    await stage.room.settle()
    assert stage.client.answers == {request: b"reply"}


@on_stage
async def test_an_ask_aside_hears_of_the_end_of_its_actor(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    worker.report(Report.PARKED, [id], [])
    request = stage.ask(id, letter(Kind.ASK, flags=READ_ONLY))
    commit(worker, id, 1)
    worker.done(id, Ending.VALUE)
    await stage.room.settle()
    assert isinstance(stage.client.answers[request], ActorDeadError)


@on_stage
async def test_answers_that_have_arrived_do_not_gather_where_nothing_changes(stage: Stage) -> None:
    id, worker = await built(stage)
    before = stage.room.commits.store._bytes_sealed
    for n in range(1, 4):
        asked = letter(Kind.ASK)
        stage.ask(id, asked, seen=[new_id() for _ in range(SEEN_MOST - 1)])
        await stage.begin(worker)
        rest(worker, id, n, replies=[(id_of_letter(asked), b"reply", False)])
        await stage.room.settle()
        assert len(stage.turns.letters._seen) < 2 * SEEN_MOST
    assert stage.room.commits.store._bytes_sealed == before, "there was nothing to remove"


@on_stage
async def test_an_actor_that_can_be_built_again_shows_no_error(stage: Stage) -> None:
    id = stage.start()
    worker = stage.room.workers[0]
    await stage.begin(worker)
    worker.done(id, Ending.ERROR, error=FAILED)
    await stage.room.settle()
    assert stage.room.record(id).error is not None
    await stage.room.until(lambda: stage.room.state(id) is State.QUEUED)
    worker = await turn(stage, id)
    rest(worker, id, state=b"0")
    await stage.room.settle()
    assert stage.room.record(id).error is None


@on_stage
async def test_a_tell_under_a_key_that_comes_again_is_no_error_although_its_actor_has_stopped(
    stage: Stage,
) -> None:
    id, _ = await built(stage)
    keyed = letter(flags=KEPT, id=b"\xff" * 6 + bytes(10))
    stage.tell(id, keyed)
    stage.turns.cancel(stage.actor(id))
    await stage.room.settle()
    stage.tell(id, keyed)
    with pytest.raises(ActorDeadError):
        stage.tell(id, letter())


@on_stage
async def test_a_key_counts_within_one_request_as_well(stage: Stage) -> None:
    id, _ = await built(stage)
    keyed = letter(flags=KEPT, id=b"\xff" * 6 + bytes(10))
    stage.tell(id, keyed, keyed)
    assert stage.actor(id).box.count == 1


@on_stage
async def test_reading_goes_on_within_the_prefix_only(stage: Stage) -> None:
    id, worker = await built(stage)
    stage.tell(id)
    await stage.begin(worker)
    commit(worker, id, 1, rows=[(key, b"") for key in ("a", "b/1", "b/2", "b/3", "c")])
    reads = [("", False, ["b/1", "b/2", "b/3"]), ("b/1", False, ["b/2", "b/3"]), ("b/2", True, ["b/1"])]
    reads += [("z", False, []), ("z", True, ["b/3", "b/2", "b/1"]), ("a", True, [])]
    for number, (after, reverse, expected) in enumerate(reads):
        worker.report(Report.READ, number, id, "rows", "b/", after, 10, reverse)
        await stage.room.settle()
        assert worker.told(Order.OK)[-1] == (Order.OK, number, tuple((key, b"") for key in expected))


@on_stage
async def test_reminders_of_an_actor_that_does_not_get_on_do_not_pile_up(small: Stage) -> None:
    async with room(small.room.home / "small", tasks=CLASSES, workers=0, mailbox_messages=3) as it:
        stage = Stage(it)
        id = stage.start()
        letters = stage.turns.letters
        for _ in range(10):
            letters.reminders.set(id, "often", 1.0, 1.0, letter(Kind.REMINDER))
            letters._remind()
        assert stage.actor(id).box.count == 3
        letters.reminders.set(id, "once", 1.0, None, letter(Kind.REMINDER))
        letters._remind()
        assert stage.actor(id).box.count == 4, "what comes only once must come"

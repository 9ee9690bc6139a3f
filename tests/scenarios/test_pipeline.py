"""Pipelines of tasks: a stage receives, stores and sends in one commit, so each message counts once."""

from __future__ import annotations

import random
from pathlib import Path

import letter_tasks
from letters import PATIENCE, assert_sound, kill_supervisor, kill_worker_of, runtime
from understudy import Runtime, State, TaskInfo
from waiting import until

MESSAGES = 600
EVERY = 7


def three_stages(rt: Runtime, deadly: list[list[int]]) -> list[TaskInfo]:
    last = rt.start(letter_tasks.stage, EVERY, None, deadly[2])
    middle = rt.start(letter_tasks.stage, EVERY, last.id, deadly[1])
    first = rt.start(letter_tasks.stage, EVERY, middle.id, deadly[0])
    return [first, middle, last]


def assert_exactly_once(rt: Runtime, stages: list[TaskInfo]) -> None:
    first, middle, last = (rt.result(stage.id, PATIENCE) for stage in stages)
    assert last == [*(4 * number for number in range(MESSAGES)), "end"]
    assert first == middle == MESSAGES + 1


def test_three_stages_that_die_at_random_messages(home: Path):
    chance = random.Random(2)
    with runtime(home, max_crashes=1_000_000, restarts=1_000) as rt:
        for _ in range(4):
            deadly = [[chance.randrange(1, 200) for _ in range(3)] for _ in range(3)]
            stages = three_stages(rt, deadly)
            rt.send_many((stages[0].id, message) for message in [*range(MESSAGES), "end"])
            assert_exactly_once(rt, stages)
    assert_sound(home)


def test_three_stages_whose_workers_and_supervisor_are_killed_from_outside(home: Path):
    chance = random.Random(3)
    with runtime(home, max_crashes=1_000_000, restarts=1_000) as rt:
        stages = three_stages(rt, [[], [], []])
        for strike in range(6):
            messages = range(100 * strike, 100 * strike + 100)
            rt.send_many((stages[0].id, message) for message in messages)
            # Kill during the work on these; the last stage has not received all of them.
            mark = messages[0] + chance.randrange(20, 80)
            until(lambda mark=mark: (rt.restore(stages[0].id) or {"count": 0})["count"] >= mark, PATIENCE)
            if strike == 3:
                kill_supervisor(rt)
            else:
                kill_worker_of(rt, chance.choice(stages).id)
        rt.send(stages[0].id, "end")
        assert_exactly_once(rt, stages)
    assert_sound(home)


def test_a_checkpoint_with_a_letter_that_cannot_be_delivered_changes_nothing(home: Path):
    unknown = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"
    with runtime(home, mailbox_messages=3) as rt:
        ended = rt.start(letter_tasks.noop)
        ended.wait(PATIENCE)
        closed = rt.start(letter_tasks.collect.options(delay=3600))
        closed.close()
        full = rt.start(letter_tasks.collect.options(delay=3600))
        rt.send_many([(full.id, number) for number in range(3)])
        open_one = rt.start(letter_tasks.collect.options(delay=3600))
        for wrong, error in (
            (ended.id, "MailboxClosed"),
            (closed.id, "MailboxClosed"),
            (full.id, "MailboxFull"),
            (unknown, "TaskNotFound"),
            ("nonsense", "TaskNotFound"),
        ):
            # In the middle, so that there is something to undo on both sides.
            sender = rt.start(
                letter_tasks.try_to_checkpoint, "first", "second", [open_one.id, wrong, open_one.id]
            )
            sender.send("hello")
            until(lambda sender=sender: (done := sender.status().progress) and done.done == 1, PATIENCE)
            assert sender.restore() == "first"
            assert sender.status().mailbox_depth == 1, "the message is not acknowledged either"
            sender.close()
            ((kind, message, restored),) = sender.result(PATIENCE)
            assert (kind, restored) == (error, "first")
            assert wrong in message
            assert open_one.status().mailbox_depth == 0
        sender = rt.start(letter_tasks.try_to_checkpoint, "first", "second", [open_one.id, open_one.id])
        sender.send("hello")
        sender.close()
        assert sender.result(PATIENCE) == [True]
        assert sender.restore() == "second"
        assert open_one.status().mailbox_depth == 2
        # One place is left: a checkpoint that needs two is refused as a whole, one that needs one succeeds.
        for receivers, answer in (([open_one.id] * 2, "MailboxFull"), ([open_one.id], True)):
            sender = rt.start(letter_tasks.try_to_checkpoint, "first", "second", receivers)
            sender.send("hello")
            sender.close()
            (said,) = sender.result(PATIENCE)
            assert said is answer or said[0] == answer
        assert open_one.status().mailbox_depth == 3
        for info in (closed, full, open_one):
            info.cancel()
    assert_sound(home)


def test_a_stage_that_sends_to_itself(home: Path):
    with runtime(home) as rt:
        info = rt.start(letter_tasks.count_down, 50)
        assert rt.result(info.id, PATIENCE) == list(range(50, -1, -1))
        assert info.status().state is State.COMPLETED
    assert_sound(home)

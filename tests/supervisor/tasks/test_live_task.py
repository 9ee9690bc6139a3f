"""A live task: its transitions, and what a worker is told of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from understudy.actors.attempt.host import Assignment
from understudy.actors.ids import new_id
from understudy.actors.state import Event
from understudy.actors.task.options import Options
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, live_lane
from understudy.supervisor.tasks.attempt import Attempt
from understudy.supervisor.tasks.live_task import LiveTask


def entry(**options: object) -> LiveTask:
    id = new_id()
    record = Record(id, "app:task", 1.0, id)
    return LiveTask(record, Options().changed(options), Lane.SYNC, stored=False)


def test_every_slot_has_a_value_from_the_start():
    made = entry()
    assert [name for name in LiveTask.__slots__ if not hasattr(made, name)] == []


def test_the_assignment():
    made = entry(timeout=5, ack="checkpoint")
    made.args = b"args"
    made.record.attempt, made.record.interruptions, made.record.checkpoint = 3, 2, (1.0, 10)
    id = made.id
    assert Assignment(*made.assignment()) == Assignment(
        id, "app:task", 3, b"args", id, None, "checkpoint", 5.0, True, 2
    )


@pytest.mark.parametrize(
    ("leave", "queued"),
    [
        (LiveTask.take_back, True),
        (lambda task: task.requeue(Event.INTERRUPT, None, None), True),
        (lambda task: task.requeue(Event.RETRY, None, 5.0), True),
        (lambda task: task.end(Event.COMPLETE, None, b"value", 1.0), False),
    ],
    ids=["taken back", "interrupted", "retried", "ended"],
)
def test_nothing_of_the_attempt_is_left_when_the_task_leaves_its_worker(
    leave: Callable[[LiveTask], None], queued: bool
):
    async def story() -> None:
        loop = asyncio.get_running_loop()
        made = entry()
        called: list[str] = []
        assert made.queued
        made.attempt = attempt = Attempt(cast("Any", None), 0.0)
        made.begin(42, 3.0)
        attempt.parked = True
        attempt.deadline = loop.call_later(0, called.append, "deadline")
        attempt.kill = loop.call_later(0, called.append, "kill")
        assert made.parked
        assert not made.queued
        leave(made)
        assert made.queued == queued
        assert not made.parked
        assert made.record.pid is None
        over: list[str] = []
        loop.call_later(0, over.append, "a timer that was set later")
        while not over:  # noqa: ASYNC110 - timers have no event
            await asyncio.sleep(0)
        assert called == []

    asyncio.run(story())


def test_until_it_is_known_to_have_begun_the_disk_shows_it_queued():
    made = entry()
    made.stand()
    queued = made.row()
    made.attempt = attempt = Attempt(cast("Any", None), 0.0)
    made.begin(42, 3.0)
    assert made.row() == queued
    attempt.begun = True
    row, key = made.row()
    assert Record.unpack(made.id, row).pid == 42
    assert key == made.key
    assert live_lane(key) is Lane.RUNNING

"""An entry: what a worker is told of it, and what is forgotten when it comes off one."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from understudy.actors.attempt.host import Assignment
from understudy.actors.ids import new_id
from understudy.actors.task.options import Options
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane
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
    assert made.assignment() == Assignment(id, "app:task", 3, b"args", id, None, "checkpoint", 5.0, True, 2)


def test_off_its_worker_nothing_of_the_attempt_is_left():
    async def story() -> None:
        loop = asyncio.get_running_loop()
        made = entry()
        called: list[str] = []
        assert made.queued
        made.attempt = attempt = Attempt(cast("Any", None), 0.0)
        attempt.parked = True
        attempt.deadline = loop.call_later(0, called.append, "deadline")
        attempt.kill = loop.call_later(0, called.append, "kill")
        assert made.parked
        assert not made.queued
        made.off_worker()
        assert made.queued
        assert not made.parked
        await asyncio.sleep(0.001)
        assert called == []
        made.record.ended = 2.0
        assert not made.queued

    asyncio.run(story())

"""What a worker has: handed out, begun, waiting, taken back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from room import Puppet, Room, room
from understudy.storage.tables.schema import Lane
from understudy.supervisor.channel.interface import HANDED
from understudy.supervisor.wire.messages import Report


async def with_tasks(it: Room, count: int) -> tuple[Puppet, list[bytes]]:
    ids = [it.add() for _ in range(count)]
    await it.settle()
    return it.workers[0], ids


def test_each_task_comes_with_a_token(home: Path):
    async def story() -> None:
        async with room(home, slots=3) as it:
            worker, ids = await with_tasks(it, 3)
            seat = worker.seat
            assert worker.channel.tokens[Lane.SYNC].count() == 3
            assert [a.id for a in worker.begin(1)] == ids[:1]
            begun, not_begun = seat.not_begun(Lane.SYNC)
            assert [entry.id for entry in begun] == ids[:1]
            assert [entry.id for entry in not_begun] == ids[1:]
            assert seat.working(Lane.SYNC) == 3

    asyncio.run(story())


def test_what_is_taken_back_is_what_has_no_token_any_more(home: Path):
    async def story() -> None:
        async with room(home, slots=5) as it:
            worker, ids = await with_tasks(it, 5)
            worker.begin(2)
            seat = worker.seat
            it.dispatcher.stop()
            back = it.attempts.take_back(seat, Lane.SYNC)
            assert [entry.id for entry in back] == ids[2:]
            assert set(seat.tasks) == set(ids[:2])
            assert not seat.takes(Lane.SYNC), (
                "until the drop is confirmed its tokens would stand for other tasks"
            )
            assert seat.takes(Lane.ASYNC)
            assert it.attempts.take_back(seat, Lane.SYNC) == []
            seat.channel.flush()
            worker.read()
            assert worker.queues[Lane.SYNC] == []
            assert seat.takes(Lane.SYNC)

    asyncio.run(story())


def test_waiting_tasks_are_counted_by_lane(home: Path):
    async def story() -> None:
        async with room(home, slots=4) as it:
            ids = [it.add(), it.add(), it.add("async")]
            await it.settle()
            worker = it.workers[0]
            seat = worker.seat
            assert [seat.working(lane) for lane in HANDED] == [2, 1, 0]
            worker.report(Report.PARKED, [ids[0], ids[2], os.urandom(16)], [])
            worker.report(Report.PARKED, [ids[0]], [])
            assert [seat.working(lane) for lane in HANDED] == [1, 0, 0]
            worker.report(Report.PARKED, [], [ids[0]])
            assert [seat.working(lane) for lane in HANDED] == [2, 0, 0]
            worker.begin()
            worker.done(ids[0])
            worker.begin(lane=Lane.ASYNC)
            worker.done(ids[2])
            assert [seat.working(lane) for lane in HANDED] == [1, 0, 0]
            assert [seat.waiting[lane] for lane in HANDED] == [0, 0, 0]

    asyncio.run(story())


@pytest.mark.parametrize(
    "row", [(99, None, None, 0.0, 1.0), (0, None, None, "then", "now")], ids=["ending", "times"]
)
def test_a_result_that_cannot_be_does_not_lose_its_task(home: Path, row: Any):
    async def story() -> None:
        async with room(home) as it:
            worker, (id,) = await with_tasks(it, 1)
            worker.begin()
            ending, value, error, started, ended = row
            worker.report(Report.DONE, [(id, ending, value, error, None, 0, started, ended)])
            assert worker.transport.closed
            it.die(worker)
            await it.settle()
            assert it.record(id).error is not None, "its worker died, and that is known of it"

    asyncio.run(story())

"""While its queue is long, a flood of quick starts is acknowledged late: that is the back-pressure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from room import Room, learn_pace, room
from understudy.actors.ids import new_id
from understudy.supervisor.rules.pace import QUICK
from understudy.supervisor.service import requests
from understudy.supervisor.service.requests import MANY, MOVED
from understudy.supervisor.tasks import ready_queue
from understudy.supervisor.wire.messages import Answer, Ask
from wire import Wire, connect, listening


def rows(count: int) -> list[Any]:
    return [(id := new_id(), "quick", None, None, None, None, id, None) for _ in range(count)]


@asynccontextmanager
async def crowded(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, moves: bool
) -> AsyncIterator[tuple[Room, Wire]]:
    """A supervisor whose queue is crowded from 51 tasks on, and a client. Tasks end all the time if it `moves`."""
    monkeypatch.setattr(ready_queue, "CROWD", 50)
    monkeypatch.setattr(requests, "LOOK", 0.001)
    monkeypatch.setattr(requests, "LOOKS", 1 << 30)
    async with room(home) as it, listening(it) as path:

        async def end_tasks() -> None:
            while True:
                it.workers[0].seat.done += MOVED
                await asyncio.sleep(0)

        await it.settle()
        learn_pace(it.attempts.paces, "quick", 0.0)
        it.dispatcher.paused = True
        ends = asyncio.create_task(end_tasks()) if moves else None
        yield it, await connect(path)
        if ends is not None:
            ends.cancel()


def test_late_until_the_queue_is_short_and_other_requests_are_not_held_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with crowded(home, monkeypatch, moves=True) as (it, wire):
            flood = rows(MANY)
            await wire.send((Ask.START, 1, flood))
            for request in range(2, 12):
                assert await wire.ask(Ask.START, rows(1), request=request) is None
            assert len(it.table.tasks) == MANY + 10
            assert (Answer.OK, 1, None) not in wire.frames
            for request, row in enumerate(flood, 12):
                assert await wire.ask(Ask.CANCEL, row[0], request=request) is True
            assert await wire.answer(1) == (Answer.OK, 1, None)

    asyncio.run(story())


def test_a_queue_that_does_not_move_delays_nobody_for_long(home: Path, monkeypatch: pytest.MonkeyPatch):
    async def story() -> None:
        async with crowded(home, monkeypatch, moves=False) as (it, wire):
            await wire.send((Ask.START, 1, rows(MANY)))
            assert await wire.answer(1) == (Answer.OK, 1, None)
            assert it.table.queues.crowded(None)

    asyncio.run(story())


def test_a_queue_that_moves_and_stays_long_delays_nobody_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with crowded(home, monkeypatch, moves=True) as (it, wire):
            monkeypatch.setattr(requests, "LOOKS", 5)
            await wire.send((Ask.START, 1, rows(MANY)))
            assert await wire.answer(1) == (Answer.OK, 1, None)
            assert it.table.queues.crowded(None)

    asyncio.run(story())


@pytest.mark.parametrize(("count", "seconds"), [(MANY - 1, 0.0), (MANY, 2 * QUICK)], ids=["few", "slow"])
def test_few_tasks_and_slow_tasks_are_acknowledged_at_once(
    count: int, seconds: float, home: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with crowded(home, monkeypatch, moves=True) as (it, wire):
            learn_pace(it.attempts.paces, "quick", seconds)
            await wire.send((Ask.START, 1, rows(count)))
            assert await wire.answer(1) == (Answer.OK, 1, None)
            assert it.table.queues.crowded(None)

    asyncio.run(story())


def test_a_supervisor_that_stops_acknowledges_before_it_says_goodbye(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    async def story() -> None:
        async with crowded(home, monkeypatch, moves=True) as (it, wire):
            await wire.send((Ask.START, 1, rows(MANY)))
            for request in range(2, 6):
                await wire.ask(Ask.START, rows(1), request=request)
            assert (Answer.OK, 1, None) not in wire.frames
            await it.service.close("it stops")
            await wire.until(Answer.GOODBYE)
            assert (Answer.OK, 1, None) in wire.frames

    asyncio.run(story())

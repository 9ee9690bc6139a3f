"""Who starts quick tasks faster than they end waits for them, and never for ever."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest

from room import room
from understudy.actors.ids import new_id
from understudy.supervisor.execution.attempts import QUICK
from understudy.supervisor.service import start_throttle as crowd_module
from understudy.supervisor.service.client_link import ClientLink
from understudy.supervisor.service.start_throttle import MANY, MOVED, StartThrottle
from understudy.supervisor.tasks import ready_queue as lane_module
from understudy.supervisor.wire.messages import Answer, Ask
from wire import connect, listening


class PaperClient:
    def __init__(self) -> None:
        self.said: list[bool] = []

    def hold(self, held: bool) -> None:
        self.said.append(held)


class Line:
    """What a crowd asks of the line."""

    crowded = True
    ended = 0

    def crowd(self) -> StartThrottle:
        return StartThrottle(lambda: self.crowded, self.count)

    def count(self) -> int:
        return self.ended


def started(count: int) -> list[Any]:
    return [(id := new_id(), "quick", None, None, None, None, id, None) for _ in range(count)]


def test_held_up_as_long_as_the_line_is_long_and_moves():
    async def story() -> None:
        line, client = Line(), PaperClient()
        crowd = line.crowd()
        crowd.joined(cast("ClientLink", client), MANY)
        assert client.said == [True]
        for _ in range(3):
            line.ended += MOVED
            look = crowd._look
            while crowd._look is look:  # noqa: ASYNC110 - the look is what this is about
                await asyncio.sleep(0.001)
            crowd.settle()
            assert client.said == [True]
        line.crowded = False
        crowd.settle()
        assert client.said == [True, False]
        crowd.joined(cast("ClientLink", client), MANY)
        assert client.said == [True, False], "there is no crowd to wait for"
        crowd.stop()
        assert crowd._look is None

    asyncio.run(story())


def test_let_go_when_the_line_does_not_move():
    async def story() -> None:
        line, client, gone = Line(), PaperClient(), PaperClient()
        crowd = line.crowd()
        for one in (client, gone):
            crowd.joined(cast("ClientLink", one), MANY)
        crowd.left(cast("ClientLink", gone))
        line.ended += MOVED - 1
        while client.said != [True, False]:  # noqa: ASYNC110 - it is told by nothing else
            await asyncio.sleep(0.001)
        assert gone.said == [True]
        assert crowd._look is None

    asyncio.run(story())


def test_nobody_is_held_up_for_long_by_a_line_that_moves_and_stays_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crowd_module, "LONGEST", 3600.0)

    async def story() -> None:
        line, client, later = Line(), PaperClient(), PaperClient()
        monkeypatch.setattr(line, "count", time.monotonic_ns)
        crowd = line.crowd()
        now = asyncio.get_running_loop().time()
        for one in (client, later):
            crowd.joined(cast("ClientLink", one), MANY)
            assert crowd._held[cast("ClientLink", one)] == pytest.approx(now + 3600, abs=60)
        for one in (client, later):
            assert one.said == [True]
            crowd._held[cast("ClientLink", one)] = now
            while one.said != [True, False]:  # noqa: ASYNC110 - it is told by nothing else
                await asyncio.sleep(0.001)
        assert crowd._look is None

    asyncio.run(story())


def test_who_starts_one_at_a_time_is_not_held_up(home: Path, monkeypatch: Any):
    monkeypatch.setattr(lane_module, "CROWD", 50)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            await it.settle()
            it.attempts.pace["quick"] = QUICK / 2
            flood, other = await connect(path), await connect(path)
            await flood.send(*((Ask.START, n, started(MANY)) for n in range(1, 6)))
            await it.until(lambda: it.service._throttle._held)
            for _ in range(3):
                assert await other.ask(Ask.START, started(1)) is None
            # Nothing ends here, so that nobody waits for that.
            for n in range(1, 6):
                assert (await flood.answer(n))[0] == Answer.OK
            await it.settle()
            assert len(it.table.tasks) == 503
            await it.until(lambda: not it.service._throttle._held)

    asyncio.run(story())


def test_what_is_slow_is_not_held_up(home: Path, monkeypatch: Any):
    monkeypatch.setattr(lane_module, "CROWD", 50)

    async def story() -> None:
        async with room(home) as it, listening(it) as path:
            await it.settle()
            wire = await connect(path)
            await wire.send(*((Ask.START, n, started(100)) for n in range(1, 6)))
            await wire.answer(5)
            assert it.table.crowded
            assert it.service._throttle._look is None

    asyncio.run(story())

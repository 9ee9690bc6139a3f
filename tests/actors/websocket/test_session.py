"""What a session does on its loop, without a task: with a server that is real, and a task's side that is this test."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from peers import Peer, echo, idle, peer
from understudy.actors.attempt.open_resource import Closing
from understudy.actors.websocket import session as session_module
from understudy.actors.websocket.connect_options import Backoff, ConnectOptions
from understudy.actors.websocket.session import EMPTY, OVER, Reconnected, Session


class Task:
    """The other side of a session."""

    def __init__(self, server: Peer, **options: Any) -> None:
        self.rung = asyncio.Event()
        self.gone: list[Session] = []
        terms = ConnectOptions.of(server.url, options)
        self.session = Session(terms, asyncio.get_running_loop(), self.rung.set, self.gone.append)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Woken by nothing but the session's own ring."""
        async with asyncio.timeout(20):
            while not condition():
                self.rung.clear()
                await self.rung.wait()

    async def take(self) -> Any:
        await self.until(lambda: self.session.queue or self.session.ended)
        return self.session.take()


def test_a_life() -> None:
    async def life() -> None:
        task = Task(server)
        session = task.session
        assert session.congested()
        assert session.take() is EMPTY
        await session.open()
        assert not session.congested()
        session.offer(b"text", True)
        session.offer(b"binary", False)
        assert [await task.take(), await task.take()] == ["text", b"binary"]
        session.close(1000, "enough")
        assert session.ended
        assert session.take() is OVER
        await task.until(lambda: session.over)
        assert (task.gone, session.code, session.reason) == ([session], 1000, "enough")
        session.close(1000, "once more")
        session.drop()
        assert task.gone == [session]

    with peer(echo) as server:
        asyncio.run(life())


def test_what_is_offered_leaves_before_the_close() -> None:
    async def life() -> None:
        task = Task(server)
        await task.session.open()
        for n in range(100):
            task.session.offer(b"%d" % n, True)
        task.session.close(1000, "")
        await task.until(lambda: task.session.over)

    async def listens(conn: Any) -> None:
        async for message in conn:
            server.received.append(int(message))

    with peer(listens) as server:
        asyncio.run(life())
        assert server.ended() == [(1000, "")]
        assert server.received == list(range(100))


def test_nothing_is_left_when_opening_is_given_up() -> None:
    async def life() -> None:
        task = Task(server)
        opening = asyncio.ensure_future(task.session.open())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await task.until(lambda: task.session.over)
        assert task.gone == [task.session]

    with peer(idle) as server:
        asyncio.run(life())


def test_the_waits_grow_unless_the_connection_has_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts and hangs up at once is not hammered; one that lasted is tried soon."""
    clock = [1.0]
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    async def life() -> list[int]:
        task = Task(server, reconnect=Backoff(delay=0.001, factor=2, jitter=0, max_delay=0.02))
        await task.session.open()
        tries = []
        for _ in range(4):
            marker = await task.take()
            assert isinstance(marker, Reconnected)
            tries.append(marker.number)
        assert task.session._tries >= 4
        async with asyncio.timeout(20):
            while task.session._tries >= 4:
                clock[0] += 1000
                await task.take()
        task.session.close(1000, "")
        await task.until(lambda: task.session.over)
        return tries

    async def hangs_up(conn: Any) -> None:
        conn.transport.abort()

    with peer(hangs_up) as server:
        assert asyncio.run(life()) == [1, 2, 3, 4]


@pytest.mark.parametrize("code", [1000, 1008, 4000])
def test_codes_after_which_it_is_not_opened_again(code: int) -> None:
    async def life() -> None:
        task = Task(server, reconnect=Backoff(delay=0.001, final=[1000, 1008, 4000]))
        await task.session.open()
        assert await task.take() is OVER
        assert task.session.code == code
        await task.until(lambda: task.session.over)

    async def ends(conn: Any) -> None:
        await conn.close(code)

    with peer(ends) as server:
        asyncio.run(life())
        assert len(server.requests) == 1


def test_a_refusal_for_good_ends_the_attempts() -> None:
    async def life() -> None:
        task = Task(server, reconnect=Backoff(delay=0.001))
        await task.session.open()
        assert await task.take() is OVER
        assert "HTTP 403" in task.session.why

    def refuses(conn: Any, _request: Any) -> Any:
        return conn.respond(403, "no") if server.requests else None

    async def goes_away(conn: Any) -> None:
        await conn.close(1001)

    with peer(goes_away, process_request=refuses) as server:
        asyncio.run(life())


@pytest.mark.parametrize(
    ("why", "code"), [(Closing.DONE, 1000), (Closing.AWAY, 1001), (Closing.FAILED, 1011)]
)
def test_leaving(why: Closing, code: int) -> None:
    async def life() -> None:
        task = Task(server)
        await task.session.open()
        task.session.close_for(why)
        await task.until(lambda: task.gone)

    with peer(idle) as server:
        asyncio.run(life())
        assert server.ended()[0][0] == code


def test_a_fork_leaves_its_parents_connection_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def life() -> None:
        task = Task(server)
        await task.session.open()
        with monkeypatch.context() as context:
            context.setattr(os, "getpid", lambda: 1)
            task.session.close_for(Closing.DONE)
        assert task.gone == [task.session]
        assert task.session.link is not None
        task.session.drop()
        await task.until(lambda: task.session.over)

    with peer(idle) as server:
        asyncio.run(life())
        assert server.ended() == [(None, "")]


def test_a_loop_that_is_closed_is_no_error() -> None:
    with peer(idle) as server:

        async def life() -> Session:
            task = Task(server)
            await task.session.open()
            task.session.drop()
            await task.until(lambda: task.session.over)
            return task.session

        session = asyncio.run(life())
        session.close(1000, "")
        session.drop()

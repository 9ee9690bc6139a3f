"""What only async tasks can do; everything else is in test_ws.py, in both flavours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peers import idle, peer
from understudy.actors.errors import InvalidOption, NotInTask
from understudy.actors.inside import aio
from understudy.actors.inside.aio import ws as aws
from understudy.actors.websocket import api as ws


def test_it_has_what_the_sync_one_has() -> None:
    assert aws.__all__ == ws.__all__
    for shared in ("Backoff", "Reconnected", "mailbox"):
        assert getattr(aws, shared) is getattr(ws, shared)
    with pytest.raises(AttributeError, match="has no attribute 'wss'"):
        _ = aio.wss


def test_outside_of_a_task() -> None:
    async def connects() -> None:
        await aws.connect("ws://localhost")

    with pytest.raises(NotInTask):
        asyncio.run(connects())
    with pytest.raises(InvalidOption):
        aws.connect("localhost")


def test_a_hook_may_be_a_coroutine(stage: Any) -> None:
    async def hook(conn: aws.Connection) -> None:
        await conn.send("login")
        assert await conn.receive() == "login"
        play.mark("greeted")

    async def body() -> None:
        async with aws.connect(server.url, on_connect=hook) as conn:
            assert play.marks == ["greeted"]
            await conn.send("x")
            assert await conn.receive() == "x"

    with peer() as server:
        play = stage.perform(body)
        play.value()
        assert server.ended() == [(1000, "")]


def test_an_error_in_a_with_block_is_told_to_the_other_side(stage: Any) -> None:
    async def body() -> None:
        with pytest.raises(ZeroDivisionError):
            async with aws.connect(server.url):
                _ = 1 / 0
        assert server.ended() == [(1011, "the task failed")]

    with peer(idle) as server:
        stage.perform(body).value()


def test_many_wait_on_one_connection(stage: Any) -> None:
    async def body() -> None:
        conn = await aws.connect(server.url)
        waiting = [asyncio.ensure_future(aws.receive(conn)) for _ in range(5)]
        for n in range(5):
            await aws.send(conn, str(n))
        assert sorted(await asyncio.gather(*waiting)) == list("01234")
        waiting = [asyncio.ensure_future(conn.receive()) for _ in range(5)]
        await asyncio.sleep(0)
        await conn.close()
        assert await asyncio.gather(*waiting) == [None] * 5

    with peer() as server:
        stage.perform(body).value()

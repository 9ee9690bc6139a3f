"""Tasks with WebSocket connections, for the scenarios."""

from __future__ import annotations

import os
import time
from typing import Any

from understudy import aio, cancelled, checkpoint, publish, receive, restore, task, ws

SOON = ws.Backoff(delay=0.01, max_delay=0.1, marker=False)


@task
def add(a: int, b: int) -> int:
    return a + b


@task(timeout=None)
def listen(url: str) -> Any:
    """The first message."""
    with ws.connect(url) as conn:
        return conn.receive()


@task(timeout=None)
async def listen_async(url: str) -> Any:
    async with aio.ws.connect(url) as conn:
        return await conn.receive()


@task(timeout=None)
def listen_to_many(url: str, count: int) -> int:
    """One task with this many connections: takes one message from each."""
    waiting = {ws.connect(url) for _ in range(count)}
    while waiting:
        conn, _ = ws.select(*waiting)
        waiting.discard(conn)
    return count


@task(timeout=None)
def forever(url: str) -> None:
    """Runs until it is stopped, and leaves the closing to the runtime."""
    conn = ws.connect(url)
    while not cancelled():
        conn.receive()


@task(timeout=None)
async def forever_async(url: str) -> None:
    conn = await aio.ws.connect(url)
    while True:
        await conn.receive()


@task(timeout=None)
def feed(url: str, ledger: str, count: int) -> list[int]:
    """Passes numbers on, each in the commit that records it; returns the processes in which it ran."""
    state = restore() or {"last": -1, "pids": []}
    state["pids"].append(os.getpid())
    with ws.connect(url, reconnect=SOON, on_connect=lambda conn: conn.send({"after": state["last"]})) as conn:
        while state["last"] < count - 1:
            tick = conn.receive()
            state["last"] = tick["n"]
            checkpoint(state, send=[(ledger, tick["n"])])
    return state["pids"]


@task(timeout=None)
async def feed_async(url: str, ledger: str, count: int) -> list[int]:
    state = await aio.restore() or {"last": -1, "pids": []}
    state["pids"].append(os.getpid())

    async def subscribe(conn: aio.ws.Connection) -> None:
        await conn.send({"after": state["last"]})

    async with aio.ws.connect(url, reconnect=SOON, on_connect=subscribe) as conn:
        while state["last"] < count - 1:
            tick = await conn.receive()
            state["last"] = tick["n"]
            await aio.checkpoint(state, send=[(ledger, tick["n"])])
    return state["pids"]


@task(timeout=None)
def shows(url: str, count: int) -> int:
    """Publishes the numbers of a connection: each as it comes, and once more in the commit that records it."""
    last = restore() or -1
    with ws.connect(url, reconnect=SOON, on_connect=lambda conn: conn.send({"after": last})) as conn:
        while last < count - 1:
            last = conn.receive()["n"]
            publish("came", last)
            checkpoint(last, publish=[("kept", last)])
    return int(last)


@task(timeout=None)
async def shows_async(url: str, count: int) -> int:
    last = await aio.restore() or -1

    async def subscribe(conn: aio.ws.Connection) -> None:
        await conn.send({"after": last})

    async with aio.ws.connect(url, reconnect=SOON, on_connect=subscribe) as conn:
        while last < count - 1:
            last = (await conn.receive())["n"]
            await aio.publish("came", last)
            await aio.checkpoint(last, publish=[("kept", last)])
    return int(last)


@task(timeout=None)
def collect(count: int) -> list[int]:
    """This many messages."""
    seen = restore() or []
    while len(seen) < count:
        seen.append(receive())
        if len(seen) % 50 == 0:
            checkpoint(seen)
    return seen


@task
async def blocks(seconds: float) -> int:
    """Blocks the event loop."""
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point
    return os.getpid()


@task
def forks(url: str) -> Any:
    """A child of the task ends without closing the connection."""
    conn = ws.connect(url)
    pid = os.fork()
    if pid == 0:
        return None
    os.waitpid(pid, 0)
    conn.send("still here")
    return conn.receive()

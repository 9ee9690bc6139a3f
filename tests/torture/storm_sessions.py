"""Tasks that hold WebSocket connections to the storm's server (storm_server.py), which cuts them at random."""

from __future__ import annotations

from typing import Any

from storm_journal import AGAIN, FOLDER, on_stage, trace
from understudy import aio, checkpoint, current, restore, task, ws

SOON = ws.Backoff(delay=0.01, max_delay=0.2)


def url() -> str:
    return f"ws://127.0.0.1:{(FOLDER / 'port').read_text()}/"


def hello(after: int = 0, count: int = 0) -> dict[str, Any]:
    """The first message of a connection: its task, and the wanted part of the numbers from 1 to `count`."""
    return {"task": current().id, "after": after, "count": count}


@task(retry=AGAIN, timeout=None)
def feed(to: str, count: int) -> int:
    """Passes the server's numbers on, each in the commit that records it: none may be missing or come twice."""
    last = restore() or 0
    me = current().id
    with on_stage():
        trace("found", me, last)
        with ws.connect(
            url(), reconnect=SOON, on_connect=lambda conn: conn.send(hello(last, count)), proxy=None
        ) as conn:
            while last < count:
                message = conn.receive()
                if isinstance(message, ws.Reconnected):
                    trace("reconnected", me)
                    continue
                _check_next(me, last, message)
                last += 1
                checkpoint(last, send=[(to, [me, last])])
                trace("saved", me, last)
        return last


@task(retry=AGAIN, timeout=None)
async def feed_async(to: str, count: int) -> int:
    last = await aio.restore() or 0
    me = current().id
    with on_stage():
        trace("found", me, last)
        async with aio.ws.connect(
            url(), reconnect=SOON, on_connect=lambda conn: conn.send(hello(last, count)), proxy=None
        ) as conn:
            while last < count:
                message = await conn.receive()
                if isinstance(message, ws.Reconnected):
                    trace("reconnected", me)
                    continue
                _check_next(me, last, message)
                last += 1
                await aio.checkpoint(last, send=[(to, [me, last])])
                trace("saved", me, last)
        return last


def _check_next(me: str, last: int, message: Any) -> None:
    if message != {"n": last + 1}:
        trace("wrong", f"feed {me} was given {message} after {last}")


class Outbox:
    """The one message that a gateway has sent and that is not answered yet."""

    def __init__(self, done: list[Any]) -> None:
        self.done = done
        self.waiting: Any = None

    def answered(self, answer: Any) -> bool:
        """Whether this answers the sent message; otherwise it must be the answer to one that was sent twice."""
        if self.waiting is not None and answer == {"ack": self.waiting}:
            self.done.append(self.waiting)
            self.waiting = None
            return True
        if not isinstance(answer, dict) or answer.get("ack") not in self.done:
            trace("wrong", f"gateway {current().id} was answered {answer}, waiting for {self.waiting}")
        return False


@task(retry=AGAIN, timeout=None, ack="checkpoint")
def gateway() -> list[Any]:
    """Sends every message of its mailbox to the server, and keeps those that were answered."""
    with on_stage():
        box = Outbox(restore() or [])
        with ws.connect(
            url(), reconnect=SOON, on_connect=lambda conn: conn.send(hello()), proxy=None
        ) as conn:
            while True:
                sources = [conn, ws.mailbox] if box.waiting is None else [conn]
                source, message = ws.select(*sources)
                if source is ws.mailbox:
                    if message is None or isinstance(message, dict):
                        return box.done
                    box.waiting = message
                    conn.send({"say": message})
                elif isinstance(message, ws.Reconnected):
                    trace("reconnected", current().id)
                    if box.waiting is not None:
                        conn.send({"say": box.waiting})
                elif box.answered(message):
                    checkpoint(box.done)


@task(retry=AGAIN, timeout=None, ack="checkpoint")
async def gateway_async() -> list[Any]:
    with on_stage():
        box = Outbox(await aio.restore() or [])
        async with aio.ws.connect(
            url(), reconnect=SOON, on_connect=lambda conn: conn.send(hello()), proxy=None
        ) as conn:
            while True:
                sources = [conn, aio.ws.mailbox] if box.waiting is None else [conn]
                source, message = await aio.ws.select(*sources)
                if source is aio.ws.mailbox:
                    if message is None or isinstance(message, dict):
                        return box.done
                    box.waiting = message
                    await conn.send({"say": message})
                elif isinstance(message, ws.Reconnected):
                    trace("reconnected", current().id)
                    if box.waiting is not None:
                        await conn.send({"say": box.waiting})
                elif box.answered(message):
                    await aio.checkpoint(box.done)


@task(retry=AGAIN, timeout=None)
def hold() -> None:
    """Holds a connection that is not opened again, and leaves closing it to the runtime; fails when it is cut."""
    with on_stage():
        conn = ws.connect(url(), proxy=None)
        conn.send(hello())
        conn.receive()
        raise ConnectionError("cut")


@task(retry=AGAIN, timeout=None)
async def hold_async() -> None:
    with on_stage():
        conn = await aio.ws.connect(url(), proxy=None)
        await conn.send(hello())
        await conn.receive()
        raise ConnectionError("cut")


FEEDS = [feed, feed_async]
GATEWAYS = [gateway, gateway_async]
HOLDERS = [hold, hold_async]

"""The awaitable twins of `understudy.ws` for `async def` tasks.

Use `from understudy import aio` and `aio.ws.connect(…)`.

A cancel or timeout raises CancelledError at the current `await`; a drain raises Interrupted. The connections
of an async task live on the task's own event loop.
"""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, Self, Unpack

from ..attempt.async_actor import AsyncTaskActor, _maybe
from ..attempt.open_resource import CLOSE_WITHIN
from ..errors import WebSocketClosed
from ..inside.aio import _async_actor
from . import base_connection as base
from .base_connection import deadline_of, left_of, mailbox
from .connect_options import Backoff, ConnectKwargs, ConnectOptions, check_close
from .json_messages import encode
from .session import EMPTY, OVER, Reconnected, Session

__all__ = [
    "Backoff",
    "Connection",
    "Reconnected",
    "close",
    "connect",
    "mailbox",
    "receive",
    "select",
    "send",
]


class connect:
    """Open a connection; see `understudy.ws.connect`."""

    def __init__(self, url: str, **options: Unpack[ConnectKwargs]) -> None:
        self._terms = ConnectOptions.of(url, options)
        self._conn: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return _connect(self._terms).__await__()

    async def __aenter__(self) -> Connection:
        self._conn = await self
        return self._conn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._conn is not None
        await self._conn.__aexit__(kind, error, trace)


async def _connect(terms: ConnectOptions) -> Connection:
    actor = _async_actor("ws.connect")
    actor.check_stop()
    session = Session(terms, actor.loop, actor.inbox.wake, actor.disown)
    actor.own(session)
    opening = actor.loop.create_task(session.open())
    opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # retrieved, not logged
    opening.add_done_callback(lambda _: actor.inbox.wake())
    try:
        await actor._wait_async(None, lambda: opening.done() or actor.stop_pending())
        if not opening.done():
            actor.check_stop()
        opening.result()
    finally:
        opening.cancel()
    conn = Connection(session, actor)
    try:
        await conn._greet()
    except BaseException as error:
        session.close(*base.farewell(error, actor))
        raise
    return conn


async def send(conn: Connection, data: Any, timeout: float | None = None) -> None:
    """As `Connection.send`."""
    await conn.send(data, timeout)


async def receive(conn: Connection, timeout: float | None = None) -> Any:
    """As `Connection.receive`."""
    return await conn.receive(timeout)


async def close(conn: Connection, code: int = 1000, reason: str = "") -> None:
    """As `Connection.close`."""
    await conn.close(code, reason)


class Connection(base.Connection):
    """A connection of an async task. An async context manager, and an async iterator over its messages."""

    _actor: AsyncTaskActor  # type: ignore[mutable-override]  # it never changes

    async def send(self, data: Any, timeout: float | None = None) -> None:
        """As `understudy.ws.Connection.send`."""
        self._mine("ws.send")
        payload, text = encode(data)
        session, actor = self._session, self._actor
        actor.check_stop()
        self._check_sendable()
        deadline = deadline_of(timeout)
        while session.congested() or self._to_greet():
            await self._greet()
            if not await actor._wait_async(
                left_of(deadline), lambda: self._sendable_now() or actor.stop_pending()
            ):
                raise TimeoutError(f"not sent within {timeout:g} s")
            actor.check_stop()
            self._check_sendable()
        session.offer(payload, text)

    async def receive(self, timeout: float | None = None) -> Any:
        """As `understudy.ws.Connection.receive`."""
        self._mine("ws.receive")
        actor = self._actor
        deadline = deadline_of(timeout)
        while True:
            actor.check_stop()
            item = self._take()
            if item.__class__ is Reconnected:
                if await self._met(item):
                    return item
            elif item is OVER:
                return None
            elif item is not EMPTY:
                return item
            elif not await actor._wait_async(
                left_of(deadline), lambda: self._has_something() or actor.stop_pending()
            ):
                raise TimeoutError(f"no message within {timeout:g} s")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """As `understudy.ws.Connection.close`."""
        self._mine("ws.close")
        code, reason = check_close(code, reason)
        session, actor = self._session, self._actor
        before = actor.interrupted
        session.close(code, reason)
        limit = CLOSE_WITHIN if before or actor.signal is not None else None
        try:
            await actor._wait_async(limit, lambda: session.over or actor.interrupted != before)
        finally:
            if not session.over:
                session.drop()
        if actor.interrupted != before:
            actor.check_stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(*base.farewell(error, self._actor))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await self.receive()
        if item is None:
            self._end_of_iteration()
            raise StopAsyncIteration
        return item

    async def _greet(self, marker: Reconnected | None = None) -> None:
        if not self._to_greet(marker):
            return
        hook = self._session.terms.on_connect
        assert hook is not None
        self._greeted, self._greeting = self._session.openings, True
        try:
            await _maybe(hook(self))
        except WebSocketClosed:
            # As in `api.Connection._greet`.
            if not self._lost_while_greeting():
                raise
        finally:
            self._greeting = False

    async def _met(self, marker: Reconnected) -> bool:
        await self._greet(marker)
        backoff = self._session.terms.reconnect
        return backoff is not None and backoff.marker


async def select(*sources: Any, timeout: float | None = None) -> tuple[Any, Any]:
    """As `understudy.ws.select`; a cancel raises CancelledError."""
    actor = _async_actor("ws.select")
    base.check_sources(actor, sources)
    listens = mailbox in sources
    if listens:
        actor._acknowledge_taken()
    deadline = deadline_of(timeout)
    while True:
        found = base.look(actor, sources)
        if found is None:
            if listens:
                actor._tell_taken()
            if not await actor._wait_async(left_of(deadline), lambda: base.any_has_something(actor, sources)):
                raise TimeoutError(f"no message within {timeout:g} s")
            continue
        source, item = found
        if isinstance(item, Reconnected) and not await source._met(item):
            continue
        return source, None if item is OVER else item

"""The awaitable twins of `understudy.ws` for `async def` tasks.

Use `from understudy import aio` and `aio.ws.connect(…)`.

A cancel or timeout raises CancelledError at the current `await`; a drain raises Interrupted. The connections
of an async task live on the task's own event loop.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self, Unpack

from ..inside.aio import _async_actor
from . import base_connection as base
from .base_connection import mailbox
from .connect_options import Backoff, ConnectKwargs, ConnectOptions
from .session import Reconnected

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

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        assert self._conn is not None
        await self._conn.__aexit__(kind, error, trace)


async def _connect(terms: ConnectOptions) -> Connection:
    actor = _async_actor("ws.connect")
    return await base.connect(Connection, actor, actor.loop, terms)


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

    async def send(self, data: Any, timeout: float | None = None) -> None:
        """As `understudy.ws.Connection.send`."""
        await self._send(data, timeout)

    async def receive(self, timeout: float | None = None) -> Any:
        """As `understudy.ws.Connection.receive`."""
        return await self._receive(timeout)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """As `understudy.ws.Connection.close`."""
        await self._close(code, reason)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        await self.close(*base.farewell(error, self._actor))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        item = await self.receive()
        if item is None:
            self._end_of_iteration()
            raise StopAsyncIteration
        return item


async def select(*sources: Any, timeout: float | None = None) -> tuple[Any, Any]:
    """As `understudy.ws.select`; a cancel raises CancelledError."""
    return await base.select(_async_actor("ws.select"), sources, timeout)

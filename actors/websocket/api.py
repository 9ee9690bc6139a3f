"""WebSocket connections for sync tasks: `from understudy import ws`.

The awaitable twins are in `understudy.aio.ws`.

A call that waits holds no slot. A cancel or timeout wakes it with TaskCancelled (once, as in `receive`), a
drain with Interrupted. A connection that is still open when its task ends is closed then.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, Unpack

from ..attempt.open_resource import CLOSE_WITHIN
from ..errors import WebSocketClosed
from ..inside.context import _sync_actor
from . import base_connection as base
from . import shared_loop
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


def connect(url: str, **options: Unpack[ConnectKwargs]) -> Connection:
    """Open a connection to `ws://…` or `wss://…`. docs/websockets.md lists the options.

    Raises WebSocketRefused if the connection fails, TimeoutError if connecting takes longer than
    `open_timeout`, and InvalidOption.
    """
    actor = _sync_actor("ws.connect")
    terms = ConnectOptions.of(url, options)
    actor.check_stop()
    session = Session(terms, shared_loop.loop(), actor.inbox.wake, actor.disown)
    actor.own(session)
    opening: Future[None] = asyncio.run_coroutine_threadsafe(session.open(), session.loop)
    opening.add_done_callback(lambda _: actor.inbox.wake())
    try:
        actor._wait(None, lambda: opening.done() or actor.stop_pending())
        if not opening.done():
            actor.check_stop()
        opening.result()
    finally:
        opening.cancel()
    conn = Connection(session, actor)
    try:
        conn._greet()
    except BaseException as error:
        session.close(*base.farewell(error, actor))
        raise
    return conn


def send(conn: Connection, data: Any, timeout: float | None = None) -> None:
    """As `Connection.send`."""
    conn.send(data, timeout)


def receive(conn: Connection, timeout: float | None = None) -> Any:
    """As `Connection.receive`."""
    return conn.receive(timeout)


def close(conn: Connection, code: int = 1000, reason: str = "") -> None:
    """As `Connection.close`."""
    conn.close(code, reason)


class Connection(base.Connection):
    """A connection of a sync task. A context manager, and an iterator over its messages."""

    def send(self, data: Any, timeout: float | None = None) -> None:
        """Send a dict or list as JSON, a str as text, bytes as binary.

        Waits while `write_limit` bytes are still unsent, or while a lost connection is opened again. Raises
        TimeoutError if that takes longer than `timeout` seconds, WebSocketClosed or UnencodableValue. Nothing
        was sent if it raises.
        """
        self._mine("ws.send")
        payload, text = encode(data)
        session, actor = self._session, self._actor
        actor.check_stop()
        self._check_sendable()
        deadline = deadline_of(timeout)
        while session.congested() or self._to_greet():
            self._greet()
            if not actor._wait(left_of(deadline), lambda: self._sendable_now() or actor.stop_pending()):
                raise TimeoutError(f"not sent within {timeout:g} s")
            actor.check_stop()
            self._check_sendable()
        session.offer(payload, text)

    def receive(self, timeout: float | None = None) -> Any:
        """The next message: a dict or list from JSON, else str or bytes; None when the connection is closed.

        With `reconnect`, also a Reconnected where messages may be missing. Raises TimeoutError after
        `timeout` seconds.
        """
        self._mine("ws.receive")
        actor = self._actor
        deadline = deadline_of(timeout)
        while True:
            actor.check_stop()
            item = self._take()
            if item.__class__ is Reconnected:
                if self._met(item):
                    return item
            elif item is OVER:
                return None
            elif item is not EMPTY:
                return item
            elif not actor._wait(left_of(deadline), lambda: self._has_something() or actor.stop_pending()):
                raise TimeoutError(f"no message within {timeout:g} s")

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait for the peer's answer, at most `close_timeout` seconds.

        Messages not yet received are dropped; messages sent before go out. Does nothing on a closed
        connection.
        """
        self._mine("ws.close")
        code, reason = check_close(code, reason)
        session, actor = self._session, self._actor
        # A signal that arrives during the wait ends it. An earlier signal is the reason for this close.
        before = (actor.signal, actor.interrupted)
        session.close(code, reason)
        limit = None if before == (None, False) else CLOSE_WITHIN
        actor._wait(limit, lambda: session.over or (actor.signal, actor.interrupted) != before)
        if not session.over:
            session.drop()
        if (actor.signal, actor.interrupted) != before:
            actor.check_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(*base.farewell(error, self._actor))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        item = self.receive()
        if item is None:
            self._end_of_iteration()
            raise StopIteration
        return item

    def _greet(self, marker: Reconnected | None = None) -> None:
        """Call the task's hook if it is due."""
        if not self._to_greet(marker):
            return
        hook = self._session.terms.on_connect
        assert hook is not None
        self._greeted, self._greeting = self._session.openings, True
        try:
            hook(self)
        except WebSocketClosed:
            # If the connection was lost again, the next opening calls the hook. If it has ended, the caller
            # sees it.
            if not self._lost_while_greeting():
                raise
        finally:
            self._greeting = False

    def _met(self, marker: Reconnected) -> bool:
        """Call the hook at a reconnect; return whether the task wants to see the marker."""
        self._greet(marker)
        backoff = self._session.terms.reconnect
        return backoff is not None and backoff.marker


def select(*sources: Any, timeout: float | None = None) -> tuple[Any, Any]:
    """(source, message) of the first source with a message: connections, or `mailbox` for the task's own.

    The message is the value that `receive` of that source returns. A closed source gives None each time.
    Sources with messages take turns. A cancel arrives through `mailbox` if that is a source, else as
    TaskCancelled. Raises TimeoutError after `timeout` seconds.
    """
    actor = _sync_actor("ws.select")
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
            if not actor._wait(left_of(deadline), lambda: base.any_has_something(actor, sources)):
                raise TimeoutError(f"no message within {timeout:g} s")
            continue
        source, item = found
        if isinstance(item, Reconnected) and not source._met(item):
            continue
        return source, None if item is OVER else item

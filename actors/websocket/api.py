"""WebSocket connections for sync tasks: `from understudy import ws`.

The awaitable twins are in `understudy.aio.ws`.

A call that waits holds no slot. A cancel or timeout wakes it with TaskCancelled, once, and the calls after that
raise Cancelled. A call with `shield=True` takes no notice of it, and `close` never does. A drain wakes a call with
Interrupted. A connection that is still open when its task ends is closed then.
"""

from __future__ import annotations

from typing import Any, Self, Unpack

from ..inside.context import _sync_actor
from . import base_connection as base
from . import shared_loop
from .base_connection import mailbox, run_now
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


def connect(url: str, *, shield: bool = False, **options: Unpack[ConnectKwargs]) -> Connection:
    """Open a connection to `ws://…` or `wss://…`. docs/websockets.md lists the options.

    Raises WebSocketRefused if the connection fails, TimeoutError if connecting takes longer than
    `open_timeout`, and InvalidOption.
    """
    actor = _sync_actor("ws.connect")
    terms = ConnectOptions.of(url, options)
    return run_now(base.connect(Connection, actor, shared_loop.loop(), terms, shield))


def send(conn: Connection, data: Any, timeout: float | None = None, *, shield: bool = False) -> None:
    """As `Connection.send`."""
    conn.send(data, timeout, shield=shield)


def receive(conn: Connection, timeout: float | None = None, *, shield: bool = False) -> Any:
    """As `Connection.receive`."""
    return conn.receive(timeout, shield=shield)


def close(conn: Connection, code: int = 1000, reason: str = "") -> None:
    """As `Connection.close`."""
    conn.close(code, reason)


class Connection(base.Connection):
    """A connection of a sync task. A context manager, and an iterator over its messages."""

    def send(self, data: Any, timeout: float | None = None, *, shield: bool = False) -> None:
        """Send a dict or list as JSON, a str as text, bytes as binary.

        Waits while `write_limit` bytes are still unsent, or while a lost connection is opened again. Raises
        TimeoutError if that takes longer than `timeout` seconds, WebSocketClosed or UnencodableValue. Nothing
        was sent if it raises.
        """
        run_now(self._send(data, timeout, shield))

    def receive(self, timeout: float | None = None, *, shield: bool = False) -> Any:
        """The next message: a dict or list from JSON, else str or bytes; None when the connection is closed.

        With `reconnect`, also a Reconnected where messages may be missing. Raises TimeoutError after
        `timeout` seconds.
        """
        return run_now(self._receive(timeout, shield))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection and wait for the peer's answer, at most `close_timeout` seconds.

        Messages not yet received are dropped; messages sent before go out. Does nothing on a closed
        connection.
        """
        run_now(self._close(code, reason))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close(*base.farewell(error, self._actor))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        item = self.receive()
        if item is None:
            self._end_of_iteration()
            raise StopIteration
        return item


def select(*sources: Any, timeout: float | None = None, shield: bool = False) -> tuple[Any, Any]:
    """(source, message) of the first source with a message: connections, or `mailbox` for the task's own.

    The message is the value that `receive` of that source returns. A closed source gives None each time.
    Sources with messages take turns. A cancel arrives through `mailbox` if that is a source, else as
    TaskCancelled. With `shield` it does not arrive. Raises TimeoutError after `timeout` seconds.
    """
    return run_now(base.select(_sync_actor("ws.select"), sources, timeout, shield))

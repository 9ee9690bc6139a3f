"""WebSocket connections for sync tasks: `from understudy import ws`.

The awaitable twins are in `understudy.aio.ws`.

A call that waits holds no slot. A cancel or timeout wakes it with TaskCancelled (once, as in `receive`), a
drain with Interrupted. A connection that is still open when its task ends is closed then.
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


def connect(url: str, **options: Unpack[ConnectKwargs]) -> Connection:
    """Open a connection to `ws://…` or `wss://…`. docs/websockets.md lists the options.

    Raises WebSocketRefused if the connection fails, TimeoutError if connecting takes longer than
    `open_timeout`, and InvalidOption.
    """
    actor = _sync_actor("ws.connect")
    return run_now(base.connect(Connection, actor, shared_loop.loop(), ConnectOptions.of(url, options)))


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
        run_now(self._send(data, timeout))

    def receive(self, timeout: float | None = None) -> Any:
        """The next message: a dict or list from JSON, else str or bytes; None when the connection is closed.

        With `reconnect`, also a Reconnected where messages may be missing. Raises TimeoutError after
        `timeout` seconds.
        """
        return run_now(self._receive(timeout))

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


def select(*sources: Any, timeout: float | None = None) -> tuple[Any, Any]:
    """(source, message) of the first source with a message: connections, or `mailbox` for the task's own.

    The message is the value that `receive` of that source returns. A closed source gives None each time.
    Sources with messages take turns. A cancel arrives through `mailbox` if that is a source, else as
    TaskCancelled. Raises TimeoutError after `timeout` seconds.
    """
    return run_now(base.select(_sync_actor("ws.select"), sources, timeout))

"""GuardedConnection: one HTTP connection, with limits on how long it may be idle, slow or stalled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ..web_settings import WebSettings
from .stall_watch import StallWatch

#: Bytes that the kernel keeps for one client.
SEND_BUFFER: Final = 128 * 1024
#: Bytes that the process itself keeps for one that follows a stream, before it waits for the client.
STREAM_BUFFER: Final = 16 * 1024


class Connections(ServerState):
    """The open connections of the process, and which of them have no request under way."""

    def __init__(self, settings: WebSettings) -> None:
        super().__init__()
        self.settings = settings
        #: Those that have been idle longest come first.
        self.idle: dict[GuardedConnection, None] = {}

    def make_room(self) -> bool:
        """Close the connection that has been idle longest if there are too many. False if none is idle."""
        if len(self.connections) <= self.settings.connections:
            return True
        if not self.idle:
            return False
        next(iter(self.idle)).drop()
        return True


class GuardedConnection(H11Protocol):
    """Guarantees:

    * The headers of a request come within `header_timeout`, or the connection is closed.
    * A client that reads nothing for `stall_timeout`, while an answer waits for it, is disconnected.
    * An idle connection is closed when there are too many.

    It is the `connection` of the state of its requests, so that a stream can be written without a coroutine.
    """

    server_state: Connections  # type: ignore[mutable-override] # that which it is made with

    def __init__(self, config: Config, server_state: Connections, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self})
        self._limits = server_state.settings
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall: StallWatch | None = None
        self._on_room: Callable[[], None] | None = None
        self._on_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        # Linux lets it grow to megabytes, in which nobody sees whether the client reads.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if not self.server_state.make_room():
            self.drop()
            return
        self.server_state.idle[self] = None
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._forget_timers()
        self.server_state.idle.pop(self, None)
        super().connection_lost(exc)
        if self._on_lost is not None:
            self._on_lost()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.transport.get_protocol() is not self:
            # A WebSocket has taken over.
            self._forget_timers()
            self.server_state.idle.pop(self, None)
        elif self.conn.their_state is h11.IDLE:
            self._await_headers()
        else:
            self._cancel_header_timer()
            self.server_state.idle.pop(self, None)

    def on_response_complete(self) -> None:
        """See uvicorn."""
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.server_state.idle[self] = None

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._stall = self._stall or StallWatch(self.transport, self._limits.stall_timeout)
        self._stall.begin()

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()
        if self._on_room is not None:
            self._on_room()

    # --- a stream; see `live.event_stream.Outlet` ---

    @property
    def is_full(self) -> bool:
        """Whether the client has to read before more is written."""
        return self.flow.write_paused

    def begin_stream(self, on_room: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """The body of the answer is written by `write` from now on. Tells when there is room, or no client any more."""
        self._on_room, self._on_lost = on_room, on_lost
        self.transport.set_write_buffer_limits(STREAM_BUFFER)
        if self.transport.is_closing():
            on_lost()

    def end_stream(self) -> None:
        """What follows is written as usual."""
        self._on_room = self._on_lost = None
        self.transport.set_write_buffer_limits()

    def write(self, data: bytes | memoryview) -> None:
        """Write a part of the body, in the form in which it goes over the wire."""
        self.transport.write(data)

    def drop(self) -> None:
        """Close the connection at once."""
        self.server_state.idle.pop(self, None)
        self.transport.abort()

    def _await_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self._limits.header_timeout, self.drop)

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _forget_timers(self) -> None:
        self._cancel_header_timer()
        if self._stall is not None:
            self._stall.end()

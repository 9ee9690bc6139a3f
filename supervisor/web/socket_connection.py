"""GuardedSocket: one WebSocket connection, with limits on a client that stalls."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .connection import Connections
from .stall_watch import StallWatch

#: Bytes that may wait for a client that asks for more by pings. A pong does not wait for room.
PONG_ROOM: Final = 256 * 1024


class GuardedSocket(WebSocketsSansIOProtocol):
    """Guarantees:

    * A client that reads nothing for `stall_timeout`, while something waits for it, is disconnected.
    * What waits for a client that pings and does not read is bounded.
    """

    def __init__(self, config: Config, server_state: Connections, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = server_state.settings
        self._stall: StallWatch | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._stall = StallWatch(cast("asyncio.Transport", transport), self._limits.stall_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        if self._stall is not None:
            self._stall.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        if self._stall is not None:
            self._stall.begin()

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()

    def handle_ping(self) -> None:
        """See uvicorn."""
        if self.transport.get_write_buffer_size() > PONG_ROOM:
            self.transport.abort()
        else:
            super().handle_ping()

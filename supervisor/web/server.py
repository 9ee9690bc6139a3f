"""WebServer: serves the apps on the sockets that the supervisor has opened. Nothing here wakes an idle process."""

from __future__ import annotations

import asyncio
import socket

from starlette.types import ASGIApp
from uvicorn.config import Config

from ..linux.listeners import BACKLOG
from ..web_settings import WebSettings
from .connection import Connections, GuardedConnection
from .socket_connection import GuardedSocket

#: Seconds that requests get to end when the process stops.
GRACE = 1.0
#: Bytes of one WebSocket message, and seconds between two looks whether its peer is still there.
WEBSOCKET_BYTES = 1024 * 1024
WEBSOCKET_PING = 20.0


class WebServer:
    """Serves until `stop`."""

    def __init__(self, settings: WebSettings) -> None:
        self._settings = settings
        self._connections = Connections(settings)
        self._servers: list[asyncio.Server] = []

    async def serve(self, app: ASGIApp, sock: socket.socket) -> None:
        """Begin to serve an app on a listening socket."""
        config = Config(
            app,
            http=GuardedConnection,
            ws=GuardedSocket,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ws_max_size=WEBSOCKET_BYTES,
            ws_ping_interval=WEBSOCKET_PING,
            ws_ping_timeout=WEBSOCKET_PING,
            # Each connection would need memory for it, and its own work for what all of them get.
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=self._settings.header_bytes,
            timeout_keep_alive=self._settings.idle_timeout,  # type: ignore[arg-type] # seconds for `call_later`
        )
        config.load()
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_server(
                lambda: GuardedConnection(config, self._connections, {}), sock=sock, backlog=BACKLOG
            )
        )

    @property
    def open_connections(self) -> int:
        """How many connections are open."""
        return len(self._connections.connections)

    async def stop(self) -> None:
        """Take no more connections, let requests end, and close what is left. The sockets stay open elsewhere."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections.connections):
            connection.shutdown()
        tasks = set(self._connections.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        for task in list(self._connections.tasks):
            task.cancel()
        await asyncio.gather(*self._connections.tasks, return_exceptions=True)

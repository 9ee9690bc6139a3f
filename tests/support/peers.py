"""WebSocket servers on the loopback: one of `websockets`, one of Node.js, and one that misbehaves."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from checkout import ROOT
from needs import require
from waiting import until

HERE = Path(__file__).parent
#: Certificate and key of `localhost`, made only for these tests.
CERTIFICATE = HERE / "loopback.pem"
PATIENCE = 20.0

Handler = Callable[[ServerConnection], Awaitable[None]]


def client_tls() -> ssl.SSLContext:
    """A TLS context that trusts the certificate of these tests."""
    return ssl.create_default_context(cafile=str(CERTIFICATE))


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


async def echo(conn: ServerConnection) -> None:
    async for message in conn:
        await conn.send(message)


async def idle(conn: ServerConnection) -> None:
    await conn.wait_closed()


class Peer:
    """A server on its own thread. It calls `handler` for every connection, and can be stopped and started again."""

    def __init__(self, handler: Handler = echo, **options: Any) -> None:
        self._handler = handler
        self._options = {"compression": None, "ping_interval": None, **options}
        self.port = 0
        self.connections: set[ServerConnection] = set()
        #: (code, reason) of every ended connection: as received from the client, or (None, "").
        self.ends: list[tuple[int | None, str]] = []
        self.requests: list[Any] = []
        self.received: list[Any] = []
        self.loop = asyncio.new_event_loop()
        self._server: Any = None
        self._thread = threading.Thread(target=self.loop.run_forever, name="peer")
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        return f"{'wss' if 'ssl' in self._options else 'ws'}://localhost:{self.port}/"

    def call(self, coroutine: Any) -> Any:
        """Run it on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def start(self) -> None:
        async def begin() -> None:
            self._server = await serve(self._handle, "127.0.0.1", self.port, **self._options)
            self.port = self._server.sockets[0].getsockname()[1]

        self.call(begin())

    def stop(self, code: int = 1001, reason: str = "") -> None:
        """Close all connections and stop listening."""

        async def end() -> None:
            self._server.close(close_connections=False)
            await asyncio.gather(*(conn.close(code, reason) for conn in list(self.connections)))
            await self._server.wait_closed()

        self.call(end())

    def reset(self) -> None:
        """Reset all connections (TCP RST)."""

        async def cut() -> None:
            for conn in list(self.connections):
                if not conn.transport.is_closing():
                    sock = conn.transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                conn.transport.abort()

        self.call(cut())

    def send(self, *messages: Any) -> None:
        """Send these to all clients."""

        async def tell() -> None:
            for conn in list(self.connections):
                for message in messages:
                    await conn.send(message)

        self.call(tell())

    def connected(self, count: int = 1) -> None:
        """Wait for this number of connections."""
        until(lambda: len(self.connections) == count, PATIENCE, lambda: str(self.connections))

    def ended(self, count: int = 1) -> list[tuple[int | None, str]]:
        """The ends, when this many connections have ended."""
        until(lambda: len(self.ends) >= count, PATIENCE, lambda: str(self.ends))
        return self.ends

    async def _handle(self, conn: ServerConnection) -> None:
        self.connections.add(conn)
        self.requests.append(conn.request)
        try:
            await self._handler(conn)
        except ConnectionClosed:
            pass
        finally:
            self.connections.discard(conn)
            await conn.close()
            received = conn.protocol.close_rcvd
            self.ends.append((None, "") if received is None else (received.code, received.reason))

    def close(self) -> None:
        self.reset()
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@contextmanager
def peer(handler: Handler = echo, **options: Any) -> Iterator[Peer]:
    made = Peer(handler, **options)
    try:
        yield made
    finally:
        made.close()


class Mute:
    """Accepts connections, lets `answer` reply to the first bytes, and is silent after that."""

    def __init__(
        self, answer: Callable[[bytes], bytes | None] = lambda request: b"", until: bytes = b"\r\n\r\n"
    ) -> None:
        self._answer = answer
        self._until = until
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"ws://localhost:{self.port}/"
        self.sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            request = b""
            while self._until not in request and (data := sock.recv(65536)):
                request += data
            reply = self._answer(request)
            if reply is None:
                sock.close()
            elif reply:
                sock.sendall(reply)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)
        for sock in self.sockets:
            sock.close()


@contextmanager
def mute(
    answer: Callable[[bytes], bytes | None] = lambda request: b"", until: bytes = b"\r\n\r\n"
) -> Iterator[Mute]:
    made = Mute(answer, until)
    try:
        yield made
    finally:
        made.close()


def handshake(request: bytes) -> bytes:
    """The answer that accepts a WebSocket."""
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    protocol.receive_data(request)
    [opening] = protocol.events_received()
    protocol.send_response(protocol.accept(opening))  # type: ignore[arg-type]
    return b"".join(protocol.data_to_send())


# --- the independent one ---


@functools.cache
def _node() -> list[str]:
    """The command that runs Node.js with the package `ws`; empty without it."""
    node = shutil.which("node")
    if node is None:
        return []
    environ = {**os.environ, "NODE_PATH": str(ROOT / ".node" / "node_modules")}
    found = subprocess.run([node, "-e", "require('ws')"], env=environ, capture_output=True, check=False)
    return [node] if found.returncode == 0 else []


@contextmanager
def node_peer(*arguments: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """(URL, next line that it prints) of tests/support/peer.js; "tls" as an argument makes it use TLS."""
    require(_node(), "Node.js with the package ws: npm install --prefix .node ws@8")
    environ = {
        **os.environ,
        "NODE_PATH": str(ROOT / ".node" / "node_modules"),
        "CERTIFICATE": str(CERTIFICATE),
    }
    process = subprocess.Popen(
        [*_node(), str(HERE / "peer.js"), *arguments], stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        scheme = "wss" if "tls" in arguments else "ws"
        stdout = process.stdout
        yield f"{scheme}://localhost:{port}/", lambda: stdout.readline().strip()
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()

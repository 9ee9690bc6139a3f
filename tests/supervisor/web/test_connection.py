"""Slow, huge, idle and lying clients against a real web process: it stays small, and others are served."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from starlette.types import Receive, Scope, Send

from understudy.supervisor.web.server import WebServer
from understudy.supervisor.web_settings import WebSettings
from waiting import until
from web_client import Web, web

HEAD = "Host: localhost\r\n"


@pytest.fixture(scope="class")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    limits = {
        "header_timeout": 1.0,
        "body_timeout": 1.0,
        "idle_timeout": 1.0,
        "body_bytes": 1 << 20,
        "body_memory": 2 << 20,
        "connections": 1_100,
    }
    with web(home, **limits) as served:
        yield served


def answer_of(sock: socket.socket) -> bytes:
    """All that comes until the connection closes."""
    data = b""
    try:
        while part := sock.recv(65_536):
            data += part
    except ConnectionResetError:
        pass
    return data


class TestClients:
    def test_a_thousand_idle_connections(self, it: Web):
        before = psutil.Process(it.pid).memory_info().rss
        with ExitStack() as opened:
            for _ in range(1_000):
                opened.enter_context(it.connect())
            began = time.monotonic()
            assert it.get("/whoami").status_code == 200
            # They are not let in one after another.
            assert time.monotonic() - began < 5
            assert psutil.Process(it.pid).memory_info().rss - before < 30 << 20
        until(lambda: psutil.Process(it.pid).num_fds() < 100)

    def test_more_connections_than_allowed(self, it: Web):
        with ExitStack() as opened:
            first = opened.enter_context(it.connect())
            for _ in range(1_200):
                opened.enter_context(it.connect())
            assert it.get("/whoami").status_code == 200
            # The one that was idle longest had to go.
            assert answer_of(first) == b""
            assert psutil.Process(it.pid).num_fds() < 1_200

    def test_headers_that_do_not_come(self, it: Web):
        for said in (b"", b"G", f"GET /whoami HTTP/1.1\r\n{HEAD}X: ".encode()):
            with it.connect(10) as sock:
                sock.sendall(said)
                assert answer_of(sock) == b""

    def test_headers_that_come_letter_by_letter(self, it: Web):
        with it.connect(10) as sock:
            sock.setblocking(False)

            def is_closed() -> bool:
                try:
                    sock.send(b"x")
                    return sock.recv(1) == b""
                except BlockingIOError:
                    return False
                except OSError:
                    return True

            until(is_closed, 10)

    def test_too_many_headers(self, it: Web):
        with it.connect(10) as sock:
            sock.sendall(f"GET /whoami HTTP/1.1\r\n{HEAD}".encode() + b"X: " + b"y" * 40_000 + b"\r\n\r\n")
            assert answer_of(sock).startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))

    def test_a_body_that_does_not_come(self, it: Web):
        with it.connect(10) as sock:
            sock.sendall(f"POST /login HTTP/1.1\r\n{HEAD}Content-Length: 10\r\n\r\nabc".encode())
            assert answer_of(sock).startswith(b"HTTP/1.1 408")

    def test_a_body_that_is_shorter_than_it_says(self, it: Web):
        with it.connect(10) as sock:
            sock.sendall(f"POST /login HTTP/1.1\r\n{HEAD}Content-Length: 10\r\n\r\nabc".encode())
            sock.shutdown(socket.SHUT_WR)
            assert not answer_of(sock).startswith(b"HTTP/1.1 2")

    def test_a_body_that_is_longer_than_it_says(self, it: Web):
        with it.connect(10) as sock:
            sock.sendall(f"POST /login HTTP/1.1\r\n{HEAD}Content-Length: 3\r\n\r\nabcdefgh\r\n\r\n".encode())
            answer = answer_of(sock)
        assert answer.startswith(b"HTTP/1.1 401"), "three bytes are no token"
        # What came after the body is no request.
        assert b"HTTP/1.1 400" in answer

    def test_two_lengths(self, it: Web):
        for lengths in (
            "Content-Length: 3\r\nContent-Length: 5\r\n",
            "Content-Length: -3\r\n",
            "Content-Length: 3x\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
        ):
            with it.connect(10) as sock:
                sock.sendall(f"POST /login HTTP/1.1\r\n{HEAD}{lengths}\r\nabc".encode())
                assert answer_of(sock).split(b" ")[1:2] in ([b"400"], [b"501"])

    def test_many_large_bodies_at_once(self, it: Web):
        half = b"x" * (900 << 10)
        before = psutil.Process(it.pid).memory_info().rss
        with ExitStack() as opened:
            socks = [opened.enter_context(it.connect(10)) for _ in range(20)]
            for sock in socks:
                sock.sendall(
                    f"POST /login HTTP/1.1\r\n{HEAD}Content-Length: {len(half) + 1}\r\n\r\n".encode()
                )
                try:
                    sock.sendall(half)
                except OSError:
                    # It is refused already.
                    continue
            grown = psutil.Process(it.pid).memory_info().rss - before
            answers = {answer_of(sock)[9:12] for sock in socks}
        assert answers <= {b"503", b"408", b""}
        assert b"503" in answers
        assert grown < 20 << 20
        assert it.get("/whoami").status_code == 200

    def test_an_idle_connection_is_closed(self, it: Web):
        with it.connect(10) as sock:
            sock.sendall(f"GET /login HTTP/1.1\r\n{HEAD}\r\n".encode())
            assert answer_of(sock).startswith(b"HTTP/1.1 200")

    def test_bytes_that_are_no_http(self, it: Web):
        for said in (b"\x16\x03\x01\x02\x00", b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            with it.connect(10) as sock:
                sock.sendall(said)
                assert b"HTTP/1.1 2" not in answer_of(sock)
        assert it.get("/whoami").status_code == 200


def test_a_reader_that_stands_still_is_dropped_and_a_slow_one_is_not():
    size = 50_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]}
        )
        await send({"type": "http.response.body", "body": b"x" * size})

    async def story() -> None:
        loop = asyncio.get_running_loop()
        server = WebServer(WebSettings(stall_timeout=0.5))
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await server.serve(app, listener)
        slow, still = (socket.create_connection(listener.getsockname()) for _ in range(2))
        with listener, slow, still:
            for sock in (slow, still):
                sock.setblocking(False)
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            read, began, has_paused = 0, loop.time(), False
            while loop.time() - began < 2.0 or server.open_connections > 1:
                if read > 1_000_000 and not has_paused:
                    time.sleep(0.8)  # noqa: ASYNC251 - a pause of this process is none of the client's
                    has_paused = True
                data = await loop.sock_recv(slow, 50_000)
                assert data, "one that reads is not dropped"
                read += len(data)
                await asyncio.sleep(0.02)
            assert server.open_connections == 1
            while read < size:
                data = await loop.sock_recv(slow, 1_000_000)
                assert data
                read += len(data)
            await server.stop()

    asyncio.run(asyncio.wait_for(story(), 30))

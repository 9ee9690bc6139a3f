"""Benchmark of HTTP triggers: one no-op request at a time, 32 connections at once, and acknowledged webhooks.

Each request is a durable run in a worker. `Runtime.run` calls the same task without HTTP. The bare FastAPI app answers
by itself, in one process of the same server: it stores nothing and starts nothing. The raw commit is one LMDB row of
200 bytes with fsync in this process.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

from floors.commits import commit, opened
from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Request, Runtime, http

CONNECTIONS = 32
ROW = bytes(200)
ASK = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"

BARE = """
import sys, uvicorn
from fastapi import FastAPI, Response

app = FastAPI()

@app.post("/noop")
async def noop() -> Response:
    return Response(status_code=204)

uvicorn.run(app, fd=int(sys.argv[1]), log_level="error", access_log=False)
"""


@http("POST", "/noop", auth="none")
def noop(request: Request) -> None:
    """A no-op, for a caller that waits."""


@http("POST", "/hook", auth="none", ack=True)
def hook(request: Request) -> None:
    """A no-op, acknowledged."""


def _p50(count: int, one: Callable[[], object]) -> float:
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        one()
        seconds.append(time.perf_counter() - began)
    return quantile(seconds, 0.5) * 1e3


def _poster(port: int, path: str, status: int) -> Callable[[], None]:
    """Sends one request on one connection, which stays open."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def post() -> None:
        connection.request("POST", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status

    return post


async def _rate(port: int, count: int) -> float:
    """Requests per second over all connections."""

    async def client(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(share):
            writer.write(ASK % b"/noop")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 204")
        writer.close()

    began = time.perf_counter()
    share = max(1, count // CONNECTIONS)
    await asyncio.gather(*(client(share) for _ in range(CONNECTIONS)))
    return share * CONNECTIONS / (time.perf_counter() - began)


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """An embedded supervisor with a web process."""
    sizes = bench.sizes
    with Runtime(bench.folder / "home", workers=2, web="127.0.0.1:0") as runtime:
        port = urlsplit(runtime.web_url or "").port or 0

        def p50(path: str, status: int) -> float:
            # An idle connection is closed: each round has its own.
            post = _poster(port, path, status)
            for _ in range(5):
                post()
            return _p50(sizes["requests"], post)

        def measure() -> dict[str, float]:
            return {
                "sync, p50": p50("/noop", 204),
                "32 connections": asyncio.run(_rate(port, sizes["at once"])),
                "ack, p50": p50("/hook", 202),
            }

        measure()

        yield measure


@contextmanager
def called(bench: Bench) -> Iterator[Measure]:
    """`Runtime.run` of the same task."""
    request = Request("POST", "/noop")
    with Runtime(bench.folder / "home", workers=2) as runtime:
        for _ in range(20):
            runtime.run(noop, request)
        yield lambda: {"sync, p50": _p50(bench.sizes["requests"], lambda: runtime.run(noop, request))}


@contextmanager
def bare(bench: Bench) -> Iterator[Measure]:
    """FastAPI that does nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as sock:
        sock.set_inheritable(True)
        server = subprocess.Popen([sys.executable, "-c", BARE, str(sock.fileno())], pass_fds=[sock.fileno()])
        try:
            port = sock.getsockname()[1]
            _poster(port, "/noop", 204)()
            yield lambda: {"32 connections": asyncio.run(_rate(port, bench.sizes["at once"]))}
        finally:
            server.kill()
            server.wait()


@contextmanager
def raw(bench: Bench) -> Iterator[Measure]:
    """One row, one commit, one fsync."""
    environment = opened(bench.folder / "raw")
    number = 0

    def one() -> None:
        nonlocal number
        number += 1
        commit(environment, {number.to_bytes(16): ROW})

    yield lambda: {"ack, p50": _p50(bench.sizes["requests"], one)}
    environment.close()


RUN, FASTAPI, RAW = "`rt.run`", "bare FastAPI", "raw commit"

CASE = Case(
    name="http_triggers",
    title="HTTP triggers",
    about=__doc__ or "",
    rows=(Row("sync, p50", "ms"), Row("32 connections", "requests/s", more=True), Row("ack, p50", "ms")),
    contenders={"understudy": ours, RUN: called, FASTAPI: bare, RAW: raw},
    targets=(
        Target("a sync no-op at most 1.6 × `rt.run`", "sync, p50", "at most", 1.6, RUN),
        Target("32 connections at least 0.3 × bare FastAPI", "32 connections", "at least", 0.3, FASTAPI),
        Target("an ack at most 4 × a raw commit", "ack, p50", "at most", 4, RAW),
    ),
    bounds=(
        "A start alone takes 2.4 raw commits. The rest of an acknowledgement is HTTP: a request is read, checked and "
        "handed to the supervisor by a third process, in Python on two processors."
    ),
    sizes={"requests": 300, "at once": 3_200},
    short={"requests": 5, "at once": 64},
)

if __name__ == "__main__":
    main(CASE)

"""Benchmark of what one task publishes, seen by 1,000 readers over HTTP, and of the memory that each of them takes.

The readers are event streams with a signed token, each on a connection of its own, as those of browsers are. All are in
the one process that measures. The delay is from the call of `publish` to the bytes in that process, one item each
0.25 s. The memory is what the web process has grown by, divided by the number of readers.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import psutil

from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, publish, receive, sleep, task

SEEN, MEMORY, WORK = (
    "seen by all, p99",
    "memory of a reader",
    "processor time of the web process for a reader and item",
)
VALUE = re.compile(rb'"value": ([0-9.]+)')
#: Seconds until all readers must have seen everything.
PATIENCE = 60


@task(timeout=None)
def paced(count: int) -> None:
    """Publish the time, again and again, each time that a message comes."""
    while receive() is not None:
        for _ in range(count):
            publish("at", time.time())
            sleep(0.25)


class Readers:
    """Event streams of one task."""

    def __init__(self, stack: ExitStack, url: str, path: str, count: int) -> None:
        parts = urlsplit(url)
        self._ready = stack.enter_context(selectors.DefaultSelector())
        request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection((parts.hostname, parts.port), PATIENCE))
            sock.sendall(request)
            sock.setblocking(False)
            self._ready.register(sock, selectors.EVENT_READ)
        self._count = count

    def see(self, what: re.Pattern[bytes], times: int) -> list[tuple[float, bytes]]:
        """Read until each has seen this so many times: when, and the first group of each match."""
        seen: list[tuple[float, bytes]] = []
        end = time.monotonic() + PATIENCE
        while len(seen) < self._count * times:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(seen)} of {self._count * times} were seen within {PATIENCE} s")
            for key, _ in self._ready.select(1):
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(65_536)
                assert data, "a stream has ended"
                now = time.time()
                seen += [(now, found) for found in what.findall(data)]
        return seen


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """An embedded supervisor with a web process."""
    sizes = bench.sizes
    web = {"web": "127.0.0.1:0", "connections": 2 * sizes["readers"] + 100}
    with ExitStack() as stack:
        runtime = stack.enter_context(Runtime(bench.folder / "home", workers=1, web=web))
        url = runtime.web_url
        assert url is not None
        info = runtime.start(paced, sizes["items"])
        path = f"/api/tasks/{info.id}/watch?token={runtime.watch_token(info)}"
        with ExitStack() as first:
            # What the process needs for all of them is not the first one's.
            Readers(first, url, path, 1).see(re.compile(rb"event: (snapshot)"), 1)
        server = psutil.Process(runtime.tree()["web"])
        before = server.memory_full_info().uss
        readers = Readers(stack, url, path, sizes["readers"])
        readers.see(re.compile(rb"event: (snapshot)"), 1)
        grown = []

        def measure() -> dict[str, float]:
            used = sum(server.cpu_times()[:2])
            runtime.send(info, True)
            late = [now - float(at) for now, at in readers.see(VALUE, sizes["items"])]
            used = sum(server.cpu_times()[:2]) - used
            grown.append(server.memory_full_info().uss - before)
            return {
                SEEN: quantile(late, 0.99) * 1e3,
                MEMORY: max(grown) / sizes["readers"] / 1024,
                WORK: used / sizes["readers"] / sizes["items"] * 1e6,
            }

        yield measure
        stack.callback(runtime.cancel, info)


CASE = Case(
    name="watchers",
    title="Items published by one task, seen by 1,000 readers over HTTP",
    about=__doc__ or "",
    rows=(Row(SEEN, "ms"), Row(MEMORY, "KiB"), Row(WORK, "µs")),
    contenders={"understudy": ours},
    targets=(
        Target("seen by all within 150 ms, p99", SEEN, "at most", 150),
        Target("at most 60 KB for each", MEMORY, "at most", 60),
    ),
    sizes={"readers": 1_000, "items": 20},
    short={"readers": 20, "items": 2},
    rounds=3,
    bounds="Each reader needs one system call of the web process and one of the reading process for each item.",
)

if __name__ == "__main__":
    main(CASE)

"""Benchmark of the dashboard: its pages over many tasks, what open pages cost the tasks, and an idle web process.

A page is requested as a browser does it, without the browser: the first 50 tasks, the overview of a day, searches that
find much, little and nothing, errors, events, schedules and processes. An open page follows the store. It is read again
when something has changed, at most twice a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from suite.case import Bench, Case, Contender, Measure, Row, Target
from suite.figures import quantile
from suite.probe import cpu_seconds, resident
from suite.program import main
from suite.rate import rate_of
from understudy import Runtime, task

#: Tasks started at once while the store is filled.
PART = 50_000
PAGES = (
    "/",
    "/?for=1d",
    "/tasks",
    "/tasks?q=state%3Acompleted",
    "/tasks?q=task%3Adashboard%3Anoop",
    "/tasks?q=state%3Afailed",
    "/tasks?q=nothing-has-this",
    "/errors",
    "/events",
    "/schedules",
    "/streams",
    "/system",
)
OPEN = ("/", "/tasks")
P95, THROUGHPUT, IDLE, MEMORY = "any page, p95", "throughput", "idle, processor time", "idle, resident"


@task(name="dashboard:noop")
def noop() -> None:
    """A no-op."""


class Reader:
    """A browser without the browser: requests with the home's first token."""

    def __init__(self, runtime: Runtime) -> None:
        parts = urlsplit(runtime.web_url or "")
        self._address = parts.hostname or "", parts.port or 0
        self._token = (Path(runtime.home) / "web.token").read_text(encoding="utf-8").strip()

    def connect(self) -> HTTPConnection:
        """A connection of its own."""
        return HTTPConnection(*self._address, timeout=60)

    def get(self, connection: HTTPConnection, path: str, **headers: str) -> float:
        """Read a page; how many seconds it took."""
        began = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {self._token}", **headers})
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 304), f"{path}: {answer.status}"
        return time.perf_counter() - began

    @contextmanager
    def open(self, path: str) -> Iterator[None]:
        """Keep a page open: it follows the store in a thread, and reads again when something has changed."""
        over = threading.Event()
        stream = self.connect()
        stream.request("GET", "/live", headers={"Authorization": f"Bearer {self._token}"})
        lines = stream.getresponse()

        def follow() -> None:
            page = self.connect()
            self.get(page, path)
            while not over.is_set() and (line := lines.readline()):
                if line.startswith(b"event: moved"):
                    self.get(page, path, **{"HX-Request": "true"})
            page.close()

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            over.set()
            if stream.sock is not None:
                stream.sock.shutdown(2)
            thread.join()
            lines.close()
            stream.close()


def home(*, is_open: bool) -> Contender:
    """A home with many ended tasks and a web process, with pages open or not."""

    @contextmanager
    def contender(bench: Bench) -> Iterator[Measure]:
        sizes = bench.sizes
        with Runtime(bench.folder / "home", workers=2, web="127.0.0.1:0") as runtime:
            left = sizes["ended tasks"]
            while left > 0:
                rate_of(runtime, noop, min(PART, left))
                left -= PART
            reader = Reader(runtime)
            connection = reader.connect()
            for path in PAGES:
                reader.get(connection, path)
            connection.close()

            def measure() -> dict[str, float]:
                if not is_open:
                    return {THROUGHPUT: rate_of(runtime, noop, sizes["tasks"])}
                own = reader.connect()
                times = [reader.get(own, path) for path in PAGES for _ in range(sizes["looks"])]
                own.close()
                pid = runtime.tree()["web"]
                before, began = cpu_seconds([pid]), time.perf_counter()
                time.sleep(sizes["milliseconds"] / 1e3)
                idle = 100 * (cpu_seconds([pid]) - before) / (time.perf_counter() - began)
                found = {P95: quantile(times, 0.95) * 1e3, IDLE: idle, MEMORY: resident(pid) / 1e6}
                with ExitStack() as pages:
                    for path in OPEN:
                        pages.enter_context(reader.open(path))
                    return {**found, THROUGHPUT: rate_of(runtime, noop, sizes["tasks"])}

            yield measure

    return contender


OURS, CLOSED = "understudy", "no page open"

CASE = Case(
    name="dashboard",
    title="The dashboard over a million tasks",
    about=__doc__ or "",
    rows=(
        Row(P95, "ms"),
        Row(THROUGHPUT, "tasks/s", more=True),
        Row(IDLE, "%"),
        Row(MEMORY, "MB"),
    ),
    contenders={OURS: home(is_open=True), CLOSED: home(is_open=False)},
    targets=(
        Target("any page at most 100 ms, p95", P95, "at most", 100),
        Target("with two pages open at least 0.97 × none", THROUGHPUT, "at least", 0.97, CLOSED),
        Target("an idle web process at most 0.2 %", IDLE, "at most", 0.2),
        Target("an idle web process at most 90 MB", MEMORY, "at most", 90),
    ),
    bounds=(
        "Of the idle web process 55 MB are its own. The rest are pages of the store's file that it has read: the "
        "kernel counts them, and takes them back when it needs memory."
    ),
    sizes={"ended tasks": 1_000_000, "tasks": 20_000, "looks": 5, "milliseconds": 5_000},
    short={"ended tasks": 500, "tasks": 200, "looks": 1, "milliseconds": 100},
    large=True,
    limit=1_200,
)

if __name__ == "__main__":
    main(CASE)

"""Benchmark of the cost of a no-op task as work grows: microseconds per task, from first call to last result.

The cases have a thousand to a million tasks at once, one to eight clients and one to eight workers. Clients
are processes that share the tasks of a round. The defaults are 20,000 tasks, one client and two workers.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, task

TASKS = {"1,000 tasks": 1_000, "10,000 tasks": 10_000, "100,000 tasks": 100_000, "1,000,000 tasks": 1_000_000}
CLIENTS = {"1 client": 1, "2 clients": 2, "4 clients": 4, "8 clients": 8}
WORKERS = {"1 worker": 1, "2 workers": 2, "4 workers": 4, "8 workers": 8}


@task(name="growth:noop")
def noop() -> None:
    """A no-op."""


def seconds_of(runtime: Runtime, count: int) -> float:
    """From the first call to the last result."""
    began = time.perf_counter()
    infos = runtime.start_many("growth:noop", [()] * count)
    done = sum(value is None for value in runtime.results(infos, timeout=120))
    seconds = time.perf_counter() - began
    assert done == count, f"{done} of {count} results"
    return seconds


class Client:
    """A process that makes its share of the calls on command."""

    def __init__(self, home: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--client", home],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def begin(self, count: int) -> None:
        print(count, file=self._in, flush=True)

    def end(self) -> None:
        said = self._out.readline()
        assert said == "done\n", f"a client said {said!r}"

    def close(self) -> None:
        self._in.close()
        self._process.wait(20)
        self._out.close()

    @property
    def _in(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _out(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout


def client(home: str) -> None:
    """The pid of that process."""
    with Runtime.connect(home) as runtime:
        for line in sys.stdin:
            seconds_of(runtime, int(line))
            print("done", flush=True)


def shared(clients: list[Client], count: int) -> float:
    """Seconds for all clients together."""
    began = time.perf_counter()
    for one in clients:
        one.begin(count // len(clients))
    for one in clients:
        one.end()
    return time.perf_counter() - began


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """A home for each number of workers; all other cases use the one with two."""
    count, most = bench.sizes["tasks"], bench.sizes["most tasks"]
    with ExitStack() as stack:
        homes = {
            row: stack.enter_context(Runtime(bench.folder / str(workers), workers=workers))
            for row, workers in WORKERS.items()
        }
        usual = homes["2 workers"]
        clients = [Client(usual.home) for _ in range(max(CLIENTS.values()))]
        for one in clients:
            stack.callback(one.close)
        for home in homes.values():
            seconds_of(home, count // 4)
        shared(clients, count // 4)

        def measure() -> dict[str, float]:
            found = {}
            for row, number in TASKS.items():
                tasks = min(number, most)
                times = max(1, min(10, 20_000 // tasks))  # a thousand tasks end too soon for one measurement
                found[row] = sum(seconds_of(usual, tasks) for _ in range(times)) / times / tasks * 1e6
            for row, number in CLIENTS.items():
                found[row] = shared(clients[:number], count) / count * 1e6
            for row, home in homes.items():
                found[row] = seconds_of(home, count) / count * 1e6
            return found

        yield measure


CASE = Case(
    name="growth",
    title="Cost as work grows",
    about=__doc__ or "",
    rows=tuple(Row(row, "µs") for row in (*TASKS, *CLIENTS, *WORKERS)),
    contenders={"understudy": ours},
    targets=tuple(
        Target(f"flat within 20 % {what}", what, "at most", 1.2, flat_over=tuple(rows))
        for what, rows in (
            ("from 1,000 to 1,000,000 tasks", TASKS),
            ("from 1 to 8 clients", CLIENTS),
            ("from 1 to 8 workers", WORKERS),
        )
    ),
    sizes={"tasks": 20_000, "most tasks": 1_000_000},
    short={"tasks": 400, "most tasks": 400},
    rounds=5,
    large=True,
    limit=300,
    bounds=(
        "A thousand tasks: what a call costs once, however many tasks it starts. They are packed before the first one "
        "begins, and their start and their ends are told after a commit each: 100 tasks took 14 ms on a busy "
        "machine, 1,000 took 38, 10,000 took 218, which is some 20 µs for each and 12 to 18 ms for a call. "
        "Of a million, most wait in their client until those before them have begun: if their tasks were not known "
        "to be quick, they would go through the disk, which costs the loop half as much again. More processes than "
        "processors take turns on them, and each turn of the supervisor then has less to do."
    ),
)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        client(sys.argv[2])
    else:
        main(CASE)

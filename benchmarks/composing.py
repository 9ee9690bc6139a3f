"""Benchmark of tasks that start others: `gather` of 10,000, `map_tasks`, and from an end to the message of a monitor.

The parent starts its children by one `start_many` and gathers them; then it maps a task over items, with at most 1,000
under way. A program does the same with `start_many` and `results`. The memory is by how much the peak of the parent's
worker grows, which runs children as well. For the message, a task reports the time of its last line to a socket of the
benchmark, and the one that monitors it the time at which `receive` has given it the message.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, gather, map_tasks, monitor, receive, task
from understudy.actors.task.current_runtime import runtime

GATHER, DOWN, DOWN_P99 = "gather", "end to $down, p50", "end to $down, p99"
RESULTS = "results"
MAP, MAP_MEMORY = "map_tasks", "map_tasks, memory"
#: Children of a map that are under way.
UNDER_WAY = 1_000


@task(name="composing:no_op")
def no_op(number: int) -> int:
    return number


@task(name="composing:gathers", timeout=None)
def gathers(count: int) -> int:
    """The number of children that it has gathered."""
    rt: Any = runtime()
    return len(gather(rt.start_many(no_op, range(count))))


@task(name="composing:maps", timeout=None)
def maps(count: int) -> tuple[int, float]:
    """The sum of what its children return, and the MB by which the worker has grown."""
    before = peak()
    return sum(map_tasks(no_op, range(count), UNDER_WAY)), peak() - before


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@task(name="composing:ends", timeout=None)
def ends(stage: str) -> None:
    """Report the time, and end, once there is a message."""
    receive()
    report(stage)


@task(name="composing:watches", timeout=None)
def watches(stage: str, rounds: int) -> None:
    """Report the time of each end that it is told of."""
    for _ in range(rounds):
        watched = ends.start(stage)
        monitor(watched)
        watched.send("now")
        receive()
        report(stage)


def report(stage: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(struct.pack("d", time.monotonic()), stage)


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """A parent that gathers, and one that monitors."""
    with ExitStack() as stack:
        stage = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        path = os.fspath(bench.folder / "stage")
        stage.bind(path)
        stage.settimeout(20)
        rt = stack.enter_context(Runtime(bench.folder / "home", workers=2))
        count, rounds = bench.sizes["children"], bench.sizes["ends"]

        def told() -> float:
            seconds: float = struct.unpack("d", stage.recv(64))[0]
            return seconds

        def measure() -> dict[str, float]:
            began = time.perf_counter()
            assert rt.run(gathers, count) == count
            taken = time.perf_counter() - began
            items = bench.sizes["items"]
            began = time.perf_counter()
            total, memory = rt.run(maps, items)
            mapped = items / (time.perf_counter() - began)
            assert total == sum(range(items))
            info = rt.start(watches, path, rounds)
            late = [-(told() - told()) for _ in range(rounds)]
            info.wait(timeout=20)
            return {
                GATHER: taken,
                MAP: mapped,
                MAP_MEMORY: memory,
                DOWN: quantile(late, 0.5) * 1e3,
                DOWN_P99: quantile(late, 0.99) * 1e3,
            }

        yield measure


@contextmanager
def results(bench: Bench) -> Iterator[Measure]:
    """A program that starts as many and reads their results."""
    with Runtime(bench.folder / "home", workers=2) as rt:
        count = bench.sizes["children"]

        def measure() -> dict[str, float]:
            began = time.perf_counter()
            assert len(list(rt.results(rt.start_many(no_op, range(count))))) == count
            gathered = time.perf_counter() - began
            items = bench.sizes["items"]
            began = time.perf_counter()
            assert sum(rt.results(rt.start_many(no_op, range(items)))) == sum(range(items))
            return {GATHER: gathered, MAP: items / (time.perf_counter() - began)}

        yield measure


CASE = Case(
    name="composing",
    about=__doc__ or "",
    title="Tasks that start others",
    rows=(
        Row(GATHER, "s"),
        Row(MAP, "tasks/s", more=True),
        Row(MAP_MEMORY, "MB"),
        Row(DOWN, "ms"),
        Row(DOWN_P99, "ms"),
    ),
    contenders={OURS: ours, RESULTS: results},
    targets=(
        Target("`gather`: at most 1.2 × the time of `results`", GATHER, "at most", 1.2, RESULTS),
        Target("`map_tasks`: at least 0.8 × `start_many` and `results`", MAP, "at least", 0.8, RESULTS),
        Target("`map_tasks`: at most 50 MB more", MAP_MEMORY, "at most", 50.0),
        Target("end to `$down`: at most 10 ms for 99 %", DOWN_P99, "at most", 10.0),
    ),
    sizes={"children": 10_000, "items": 30_000, "ends": 300},
    short={"children": 50, "items": 60, "ends": 3},
    full={"items": 1_000_000},
    limit=900,
)

if __name__ == "__main__":
    main(CASE)

"""Benchmark of supervision trees: from the crash of a child to its restart's first line, and trees of 1,000 children.

The child reports its start to a socket of the benchmark, raises, and is started again by its tree. The children of the
large tree are async tasks that wait for messages. Its start is compared with `start_many` of as many, until all of them
run, and its stop with a `cancel` of each, until all have ended. A tree starts each child when the one before has begun,
and stops each when the one behind it has ended.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, Supervisor, aio, checkpoint, child, receive, task

RESTART, RESTART_P99, START, STOP = "restart, p50", "restart, p99", "start", "stop"
PLAIN = "start_many, cancel"
#: Seconds between two looks at what has begun.
LOOK = 0.002


@task(name="trees:fails", timeout=None)
def fails(stage: str) -> None:
    """Report when it runs, and when it fails: at its next message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.sendto(struct.pack("d", time.monotonic()), stage)
        receive()
        checkpoint(None)  # so that the message does not come again
        line.sendto(struct.pack("d", time.monotonic()), stage)
    raise ValueError("told to")


@task(name="trees:idle", timeout=None)
async def idle(number: int) -> None:
    """Wait to be stopped."""
    while await aio.receive() != {"$cancel": True}:
        pass


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One child that fails again and again, and large trees one after the other."""
    with ExitStack() as stack:
        stage = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        path = os.fspath(bench.folder / "stage")
        stage.bind(path)
        stage.settimeout(20)
        runtime = stack.enter_context(Runtime(bench.folder / "home", workers=2))
        one = runtime.supervise(
            Supervisor("one", intensity=1_000_000, children=[child("fails", fails, path)])
        )
        told = struct.Struct("d")
        told.unpack(stage.recv(64))
        id = one.info("fails").id

        def restart() -> float:
            runtime.send(id, "now")
            (failed,), (began,) = told.unpack(stage.recv(64)), told.unpack(stage.recv(64))
            seconds: float = began - failed
            return seconds

        number = 0

        def large() -> tuple[float, float]:
            nonlocal number
            number += 1
            spec = Supervisor(
                f"large{number}", children=[child(f"c{n}", idle, n) for n in range(bench.sizes["children"])]
            )
            there = running(runtime)
            began = time.perf_counter()
            tree = runtime.supervise(spec)
            while running(runtime) < there + bench.sizes["children"]:
                time.sleep(LOOK)
            started = time.perf_counter() - began
            began = time.perf_counter()
            tree.stop()
            tree.wait(timeout=120)
            return started, time.perf_counter() - began

        def measure() -> dict[str, float]:
            done = [restart() for _ in range(bench.sizes["restarts"])]
            start, stop = large()
            return {
                RESTART: quantile(done, 0.5) * 1e3,
                RESTART_P99: quantile(done, 0.99) * 1e3,
                START: start,
                STOP: stop,
            }

        yield measure


@contextmanager
def plain(bench: Bench) -> Iterator[Measure]:
    """As many tasks without a tree."""
    with Runtime(bench.folder / "home", workers=2) as runtime:
        count = bench.sizes["children"]

        def measure() -> dict[str, float]:
            began = time.perf_counter()
            infos = runtime.start_many(idle, range(count))
            while running(runtime) < count:
                time.sleep(LOOK)
            started = time.perf_counter() - began
            began = time.perf_counter()
            for info in infos:
                info.cancel()
            for info in infos:
                info.wait(timeout=120)
            return {START: started, STOP: time.perf_counter() - began}

        yield measure


def running(runtime: Runtime) -> int:
    """How many tasks run."""
    return sum(
        count for states in runtime.counts().values() for state, count in states.items() if state == "running"
    )


CASE = Case(
    name="trees",
    title="Supervision trees",
    about=__doc__ or "",
    rows=(Row(RESTART, "ms"), Row(RESTART_P99, "ms"), Row(START, "s"), Row(STOP, "s")),
    contenders={OURS: ours, PLAIN: plain},
    targets=(
        Target("crash to the restart's first line, p99, at most 50 ms", RESTART_P99, "at most", 50),
        Target("start of 1,000 at most 2 × `start_many`", START, "at most", 2, PLAIN),
        Target("stop of 1,000 at most 2 × a `cancel` of each", STOP, "at most", 2, PLAIN),
    ),
    sizes={"restarts": 100, "children": 1_000},
    short={"restarts": 3, "children": 5},
    rounds=3,
    bounds=(
        "A tree starts its children in 16 runs, each when all of the one before have begun: a report of the worker, a "
        "turn of the supervisor and a frame to a worker, one after the other, where `start_many` hands out all of them "
        "at once. Of each child it writes a row more, with its spec. It stops them one by one."
    ),
)

if __name__ == "__main__":
    main(CASE)

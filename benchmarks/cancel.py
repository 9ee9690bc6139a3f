"""Benchmark of cancelling a task that waits in `receive`: from the call to its end on disk as `cancelled`.

The comparison shows the disk's speed at that time: two raw LMDB commits with fsync in a row, as a cancel and
an end need them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from floors.commits import commit, opened
from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, State, receive, send, task


@task
def park(ready_at: str) -> None:
    """Report that it runs, and wait."""
    send(ready_at, True)
    receive()


@task
def gather(count: int) -> None:
    """Wait until this many tasks run."""
    for _ in range(count):
        receive()


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One cancel after the other; the other tasks keep waiting."""
    count = bench.sizes["tasks"]
    with Runtime(bench.folder / "home", workers=2) as runtime:

        def one(id: str) -> float:
            began = time.perf_counter()
            done = runtime.cancel(id)
            runtime.wait_for_end(id).result(30)
            seconds = time.perf_counter() - began
            assert done
            assert runtime.status(id).state is State.CANCELLED
            return seconds

        def measure() -> dict[str, float]:
            gathered = runtime.start(gather, count)
            infos = runtime.start_many(park, [gathered.id] * count)
            gathered.result(timeout=30)
            samples = [one(info.id) for info in infos]
            return {"p50": quantile(samples, 0.5) * 1e3, "p99": quantile(samples, 0.99) * 1e3}

        yield measure


@contextmanager
def raw(bench: Bench) -> Iterator[Measure]:
    """Two rows, each with its own commit."""
    environment = opened(bench.folder / "raw")

    def one() -> float:
        began = time.perf_counter()
        for key in (b"cancel", b"end"):
            commit(environment, {key: bytes(200)})
        return time.perf_counter() - began

    def measure() -> dict[str, float]:
        samples = [one() for _ in range(bench.sizes["tasks"])]
        return {"p50": quantile(samples, 0.5) * 1e3, "p99": quantile(samples, 0.99) * 1e3}

    measure()
    yield measure
    environment.close()


CASE = Case(
    name="cancel",
    title="Cancel of a parked task, call to terminal state",
    about=__doc__ or "",
    rows=(Row("p50", "ms"), Row("p99", "ms")),
    contenders={"understudy": ours, "two raw commits": raw},
    targets=(Target("p99 at most 20 ms", "p99", "at most", 20),),
    sizes={"tasks": 200},
    short={"tasks": 10},
    rounds=5,
    bounds=("It waits for two commits; what is beyond those beside it is the way there and back, twice."),
)

if __name__ == "__main__":
    main(CASE)

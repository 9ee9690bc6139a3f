"""Benchmark of one task at a time: median and 99th percentile of the time from the call to the result.

The floor commits twice for each task. It acknowledges the start once it is on disk, and the result likewise.
Understudy promises the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from floors.near import task_floor
from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, task


@task
def noop() -> None:
    """A no-op."""


def percentiles(one: Callable[[], float], count: int) -> Mapping[str, float]:
    """Milliseconds."""
    samples = [one() for _ in range(count)]
    return {"p50": quantile(samples, 0.5) * 1e3, "p99": quantile(samples, 0.99) * 1e3}


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """`run`, which starts a task and waits for its value."""
    with Runtime(bench.folder / "home", workers=1) as runtime:

        def one() -> float:
            began = time.perf_counter()
            value = runtime.run(noop, timeout=30)
            seconds = time.perf_counter() - began
            assert value is None
            return seconds

        percentiles(one, 20)
        yield lambda: percentiles(one, bench.sizes["tasks"])


@contextmanager
def floor(bench: Bench) -> Iterator[Measure]:
    """The same way, bare."""
    with task_floor(bench.folder, 1) as near:
        percentiles(near.one, 20)
        yield lambda: percentiles(near.one, bench.sizes["tasks"])


CASE = Case(
    name="latency",
    title="One task at a time, call to result",
    about=__doc__ or "",
    rows=(Row("p50", "ms"), Row("p99", "ms")),
    contenders={"understudy": ours, "floor": floor},
    targets=(
        Target("p50 at most 1.0 × floor", "p50", "at most", 1.0, "floor"),
        Target("p99 at most 3 × p50", "p99", "at most", 3, "understudy", "p50"),
    ),
    sizes={"tasks": 400},
    short={"tasks": 20},
    peers=dict.fromkeys(("dramatiq", "dbos", "ray"), ("p50", "p99")),
    bounds=(
        "Both commit twice, ours into two tables (1.3 times a raw commit of one row). Between the commits the "
        "supervisor checks and queues a start, hands it out, takes in its end and tells of it: 0.2 ms of Python, "
        "and nearly twice that when whatever ran meanwhile has emptied the processor's caches; the floor has a "
        "dictionary there. The client's reading thread has to wake the caller. Reading in the caller's thread was "
        "tried: it gained 4 %, and made signal handlers and Ctrl-C a danger."
    ),
)

if __name__ == "__main__":
    main(CASE)

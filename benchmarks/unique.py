"""Benchmark of unique tasks: a start that is given the task that is there, and one that makes a task.

One call at a time, from the call to its acknowledgement. The comparison is `start` of a task that is not unique.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from suite.case import Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, TaskInfo, receive, task


@task(unique=True, timeout=None)
def waits(number: int) -> None:
    """There until it is cancelled."""
    receive()


@task(unique=True)
def once(number: int) -> None:
    """A unique no-op."""


@task
def noop(number: int) -> None:
    """A no-op."""


def median_of(starts: int, start: Callable[[], TaskInfo[None]], *, ends: bool) -> float:
    """The median time of so many calls in milliseconds. If the tasks end, each waits for the one before."""

    def one() -> float:
        began = time.perf_counter()
        info = start()
        seconds = time.perf_counter() - began
        if ends:
            info.result(timeout=30)
        return seconds

    return quantile([one() for _ in range(starts)], 0.5) * 1e3


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """A unique task that is there, and new ones."""
    starts, numbers = bench.sizes["starts"], count()
    with Runtime(bench.folder / "home", workers=1) as runtime:
        there = runtime.start(waits, 0)

        def again() -> TaskInfo[None]:
            info = runtime.start(waits, 0)
            assert info.existing
            return info

        def measure() -> dict[str, float]:
            return {
                "one that is there": median_of(starts, again, ends=False),
                "a new one": median_of(starts, lambda: runtime.start(once, next(numbers)), ends=True),
            }

        measure()
        yield measure
        there.cancel()


@contextmanager
def plain(bench: Bench) -> Iterator[Measure]:
    """`start` of a task that is not unique."""
    starts, numbers = bench.sizes["starts"], count()
    with Runtime(bench.folder / "plain", workers=1) as runtime:

        def measure() -> dict[str, float]:
            median = median_of(starts, lambda: runtime.start(noop, next(numbers)), ends=True)
            return {"one that is there": median, "a new one": median}

        measure()
        yield measure


START = "start"

CASE = Case(
    name="unique",
    title="Starts of unique tasks, acknowledged",
    about=__doc__ or "",
    rows=(Row("one that is there", "ms"), Row("a new one", "ms")),
    contenders={"understudy": ours, START: plain},
    targets=(
        Target("one that is there: at most 0.6 × `start`", "one that is there", "at most", 0.6, START),
        Target("a new one: at most 1.2 × `start`", "a new one", "at most", 1.2, START),
    ),
    sizes={"starts": 200},
    short={"starts": 10},
    bounds=(
        "The way there and back. A start that is given the task that is there writes nothing, so it waits for no disk "
        "unless a commit is under way."
    ),
)

if __name__ == "__main__":
    main(CASE)

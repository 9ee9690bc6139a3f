"""Benchmark of `step`: the time of the call for a step that is done, and for one that an earlier attempt has done.

The value, a map of three entries, is on disk when the call returns. A known one comes with the attempt, 1,000 of them
here. The comparison is `checkpoint` with the same value.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Retry, Runtime, checkpoint, current, step, task

VALUE = {"id": "inv-7", "cents": 4_200, "lines": [1, 2, 3]}
DONE, KNOWN = "done", "known"


def invoice() -> dict[str, Any]:
    """What a step does."""
    return VALUE


@task(retry=Retry(attempts=1, delay=0))
def by_steps(count: int) -> list[float]:
    """The median of this many steps in the second attempt, which knows the first half of them, in seconds."""
    samples = []
    for number in range(count * current().attempt):
        began = time.perf_counter()
        value = step(invoice)
        samples.append(time.perf_counter() - began)
        assert value == VALUE, number
    if current().attempt == 1:
        raise ValueError("again")
    return [quantile(samples[count:], 0.5), quantile(samples[:count], 0.5)]


@task
def by_checkpoints(count: int) -> float:
    """The median of this many checkpoints, in seconds."""
    samples = []
    for _ in range(count):
        began = time.perf_counter()
        checkpoint(VALUE)
        samples.append(time.perf_counter() - began)
    return quantile(samples, 0.5)


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One task at a time."""
    with Runtime(bench.folder / "home", workers=1) as runtime:

        def measure() -> dict[str, float]:
            done, known = runtime.run(by_steps, bench.sizes["steps"], timeout=120)
            return {DONE: 1e6 * done, KNOWN: 1e6 * known}

        runtime.run(by_steps, 10, timeout=60)
        yield measure


@contextmanager
def checkpoints(bench: Bench) -> Iterator[Measure]:
    """The same number of checkpoints."""
    with Runtime(bench.folder / "home", workers=1) as runtime:
        runtime.run(by_checkpoints, 10, timeout=60)
        yield lambda: {DONE: 1e6 * runtime.run(by_checkpoints, bench.sizes["steps"], timeout=120)}


CHECKPOINT = "checkpoint"

CASE = Case(
    name="steps",
    title="`step`, from the call to its return",
    about=__doc__ or "",
    rows=(Row(DONE, "µs"), Row(KNOWN, "µs")),
    contenders={OURS: ours, CHECKPOINT: checkpoints},
    targets=(
        Target("p50 at most 1.1 × `checkpoint`", DONE, "at most", 1.1, CHECKPOINT),
        Target("a known one at most 10 µs", KNOWN, "at most", 10),
    ),
    sizes={"steps": 1_000},
    short={"steps": 5},
    bounds=(
        "A step goes the way of a checkpoint. Its row is a new one each time, and the record counts it. A known one is "
        "looked up by its name and number in the memory of the attempt, and decoded."
    ),
)

if __name__ == "__main__":
    main(CASE)

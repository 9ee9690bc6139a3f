"""Benchmark of events: the time until `emit` returns, and events with one handler per second, up to its run's end.

The event and the run of its handler are on disk when `emit` returns. The comparison is the same task without an event:
`start`, and `start_many` up to the end of all tasks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Runtime, on, task
from understudy.actors.events.event import Event

STARTS = "start, start_many"


@on("bench.done")
def handled(event: Event) -> None:
    """A no-op."""


@task
def noop(number: int) -> None:
    """A no-op."""


One = Callable[[Runtime, int], str]
Many = Callable[[Runtime, int], Sequence[str]]


def emit(runtime: Runtime, number: int) -> str:
    """Emit one event; the id of its run."""
    return runtime.emit("bench.done", number).runs[0]


def emit_many(runtime: Runtime, count: int) -> list[str]:
    """Emit events; the ids of their runs."""
    return [info.runs[0] for info in runtime.emit_many(("bench.done", number) for number in range(count))]


def start(runtime: Runtime, number: int) -> str:
    """Start one task; its id."""
    return runtime.start(noop, number).id


def start_many(runtime: Runtime, count: int) -> list[str]:
    """Start tasks; their ids."""
    return [info.id for info in runtime.start_many(noop, range(count))]


@contextmanager
def measured(bench: Bench, one: One, many: Many) -> Iterator[Measure]:
    """One call at a time: the next one comes when the task before has ended. Then many at once."""
    with Runtime(bench.folder / "home", workers=2) as runtime:

        def call(number: int) -> float:
            began = time.perf_counter()
            id = one(runtime, number)
            seconds = time.perf_counter() - began
            assert runtime.result(id, timeout=30) is None
            return seconds

        def measure() -> dict[str, float]:
            p50 = quantile([call(number) for number in range(bench.sizes["calls"])], 0.5) * 1e3
            count = bench.sizes["events"]
            began = time.perf_counter()
            assert sum(value is None for value in runtime.results(many(runtime, count))) == count
            return {"p50": p50, "rate": count / (time.perf_counter() - began)}

        measure()
        yield measure


CASE = Case(
    name="events",
    title="Events with one handler",
    about=__doc__ or "",
    rows=(Row("p50", "ms"), Row("rate", "/s", more=True)),
    contenders={
        OURS: lambda bench: measured(bench, emit, emit_many),
        STARTS: lambda bench: measured(bench, start, start_many),
    },
    targets=(
        Target("`emit` acknowledged, p50, at most 1.2 × `start`", "p50", "at most", 1.2, STARTS),
        Target("events a second at least 0.6 × `start_many`", "rate", "at least", 0.6, STARTS),
    ),
    sizes={"calls": 200, "events": 10_000},
    short={"calls": 5, "events": 50},
    bounds=(
        "An event is two rows more than a task, and its run is in four places of the index instead of one. Client and "
        "supervisor do that work."
    ),
)

if __name__ == "__main__":
    main(CASE)

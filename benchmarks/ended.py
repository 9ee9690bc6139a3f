"""Benchmark of throughput with a million ended tasks in the store and with none: no-ops, all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from suite.case import Bench, Case, Contender, Measure, Row, Target
from suite.program import main
from suite.rate import rate_of
from understudy import Runtime, task

#: Tasks started at once while the store is filled.
PART = 50_000


@task
def noop() -> None:
    """A no-op."""


def with_ended(size: str | None) -> Contender:
    """A home with this many ended tasks."""

    @contextmanager
    def contender(bench: Bench) -> Iterator[Measure]:
        count = bench.sizes["tasks"]
        with Runtime(bench.folder / "home", workers=2) as runtime:
            rate_of(runtime, noop, count // 4)
            left = bench.sizes[size] if size else 0
            while left > 0:
                rate_of(runtime, noop, min(PART, left))
                left -= PART
            yield lambda: {"throughput": rate_of(runtime, noop, count)}

    return contender


EMPTY = "empty store"

CASE = Case(
    name="ended",
    title="A million ended tasks in the store",
    about=__doc__ or "",
    rows=(Row("throughput", "tasks/s", more=True),),
    contenders={"understudy": with_ended("ended tasks"), EMPTY: with_ended(None)},
    targets=(Target("at least 0.8 × an empty store", "throughput", "at least", 0.8, EMPTY),),
    sizes={"ended tasks": 1_000_000, "tasks": 20_000},
    short={"ended tasks": 1000, "tasks": 200},
    large=True,
)

if __name__ == "__main__":
    main(CASE)

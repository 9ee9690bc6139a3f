"""Benchmark of pools: no-ops in a pool of workers, against the same on the workers of tasks without a pool.

All calls at once, from the first call to the last result, with two workers each. Both homes have workers of both kinds,
so that the quotient is the cost of the pool's own lanes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from suite.rate import rate_of
from understudy import Runtime, task


@task(pool="own")
def pooled() -> None:
    """A no-op in a pool."""


@task
def noop() -> None:
    """A no-op."""


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """In a pool."""
    count = bench.sizes["tasks"]
    with Runtime(bench.folder / "pooled", workers=2, pools={"own": 2}) as runtime:
        rate_of(runtime, pooled, count // 10)
        yield lambda: {"no-ops": rate_of(runtime, pooled, count)}


@contextmanager
def without(bench: Bench) -> Iterator[Measure]:
    """Without one."""
    count = bench.sizes["tasks"]
    with Runtime(bench.folder / "plain", workers=2, pools={"own": 2}) as runtime:
        rate_of(runtime, noop, count // 10)
        yield lambda: {"no-ops": rate_of(runtime, noop, count)}


WITHOUT = "no pool"

CASE = Case(
    name="pools",
    title="Tasks in a pool",
    about=__doc__ or "",
    rows=(Row("no-ops", "tasks/s", more=True),),
    contenders={"understudy": ours, WITHOUT: without},
    targets=(Target("at least 0.9 × no pool", "no-ops", "at least", 0.9, WITHOUT),),
    sizes={"tasks": 100_000},
    short={"tasks": 400},
    bounds="The supervisor's event loop, which places each task of a pool by its options.",
)

if __name__ == "__main__":
    main(CASE)

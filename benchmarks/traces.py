"""Benchmark of throughput with traces and without: no-ops, all at once.

The spans are made and thrown away, so that no receiver takes part.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from suite.case import Bench, Case, Contender, Measure, Row, Target
from suite.program import main
from suite.rate import rate_of
from understudy import Runtime, task


@task(name="traces:noop")
def noop() -> None:
    """A no-op."""


def sampled(share: float) -> Contender:
    """A home that traces this share of its tasks."""

    @contextmanager
    def contender(bench: Bench) -> Iterator[Measure]:
        count = bench.sizes["tasks"]
        os.environ["OTEL_TRACES_EXPORTER"] = "none"
        with Runtime(bench.folder / "home", workers=2, traces=share) as runtime:
            rate_of(runtime, noop, count // 4)
            yield lambda: {"throughput": rate_of(runtime, noop, count)}

    return contender


OFF, ALL = "no traces", "every task traced"

CASE = Case(
    name="traces",
    title="Traces of 1 % of the tasks",
    about=__doc__ or "",
    rows=(Row("throughput", "tasks/s", more=True),),
    contenders={"understudy": sampled(0.01), OFF: sampled(0), ALL: sampled(1)},
    targets=(Target("at least 0.9 × no traces", "throughput", "at least", 0.9, OFF),),
    sizes={"tasks": 20_000},
    short={"tasks": 200},
)

if __name__ == "__main__":
    main(CASE)

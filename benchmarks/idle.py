"""Benchmark of idling: processor time of the supervisor, its fork server and 4 workers without work.

It is in per cent of one processor.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from suite.case import Bench, Case, Measure, Row, Target
from suite.probe import cpu_seconds, family
from suite.program import main
from understudy import Runtime, task


@task
def noop() -> None:
    """A no-op."""


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """After some work, so that no first-time work is left."""
    seconds = bench.sizes["milliseconds"] / 1e3
    with Runtime(bench.folder / "home", workers=4) as runtime:
        infos = runtime.start_many(noop, [()] * 1000)
        assert sum(value is None for value in runtime.results(infos, timeout=30)) == 1000
        time.sleep(min(seconds, 1))

        def measure() -> dict[str, float]:
            pids = family(runtime)
            assert len(pids) == 6, pids
            before = cpu_seconds(pids)
            assert before > 0, "this system does not tell processor time"
            time.sleep(seconds)
            return {"processor time": 100 * (cpu_seconds(pids) - before) / seconds}

        yield measure


CASE = Case(
    name="idle",
    title="Idle: supervisor, fork server and 4 workers",
    about=__doc__ or "",
    rows=(Row("processor time", "%"),),
    contenders={"understudy": ours},
    targets=(Target("at most 0.2 % over 10 s", "processor time", "at most", 0.2),),
    sizes={"milliseconds": 10_000},
    short={"milliseconds": 200},
    rounds=2,
)

if __name__ == "__main__":
    main(CASE)

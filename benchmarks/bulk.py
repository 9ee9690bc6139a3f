"""Benchmark of the cancel of many queued tasks: `cancel_where`, from the call until all of them are cancelled on disk.

The comparison is `cancel` of one task after the other, each acknowledged before the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, State, TaskInfo, task

ROW = "tasks cancelled"


@task
def waits(number: int) -> None:
    """Queued for a day."""


def queued(runtime: Runtime, count: int) -> list[TaskInfo[None]]:
    """So many tasks that stay queued."""
    return runtime.start_many(waits.options(delay=86_400), range(count))


def cancelled(runtime: Runtime) -> int:
    """How many have been cancelled."""
    return runtime.counts().get(waits.name, {}).get(State.CANCELLED, 0)


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """All of them by one call."""
    count = bench.sizes["tasks"]
    with Runtime(bench.folder / "home", workers=1) as runtime:

        def measure() -> dict[str, float]:
            queued(runtime, count)
            before = cancelled(runtime)
            began = time.perf_counter()
            assert runtime.cancel_where("task:waits state:queued") == count
            seconds = time.perf_counter() - began
            assert cancelled(runtime) == before + count
            runtime.prune(all=True)
            return {ROW: count / seconds}

        yield measure


@contextmanager
def one_by_one(bench: Bench) -> Iterator[Measure]:
    """Some of them by a call each."""
    count = bench.sizes["calls"]
    with Runtime(bench.folder / "calls", workers=1) as runtime:

        def measure() -> dict[str, float]:
            infos = queued(runtime, count)
            began = time.perf_counter()
            for info in infos:
                assert runtime.cancel(info)
            seconds = time.perf_counter() - began
            runtime.prune(all=True)
            return {ROW: count / seconds}

        yield measure


LOOP = "cancel in a loop"

CASE = Case(
    name="bulk",
    title="Cancel of many queued tasks",
    about=__doc__ or "",
    rows=(Row(ROW, "/s", more=True),),
    contenders={"understudy": ours, LOOP: one_by_one},
    targets=(Target("at least 10 × `cancel` in a loop", ROW, "at least", 10, LOOP),),
    sizes={"tasks": 100_000, "calls": 2_000},
    short={"tasks": 500, "calls": 20},
    rounds=3,
    bounds=(
        "The supervisor cancels 200 tasks between two commits, so that the requests of others come in between."
    ),
)

if __name__ == "__main__":
    main(CASE)

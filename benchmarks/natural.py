"""Benchmark of programs with one call for each task: durable no-op tasks per second, with two workers.

The time runs from the first call to the last result. Understudy is measured in three ways: `start_many` and then
`results`, the fastest one; `start_many` and then `result` for each task; `Executor.submit` for each task and then
`result` of each future. `multiprocessing.Pool` (`apply_async`, `get`) and `ProcessPoolExecutor` (`submit`, `result`)
have one way, whose figure stands in all three rows. They store nothing.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.program import main
from suite.rate import rate_of
from understudy import Executor, Runtime, task

AT_ONCE, ONE_BY_ONE, SUBMITTED = "results", "result one by one", "submit, then result"


@task
def noop() -> None:
    """A no-op, as a task."""


def nothing() -> None:
    """A no-op, as a function."""


def rate(calls: Callable[[int], list[Callable[[], None]]], count: int) -> float:
    """Make the calls, and then get each result in turn."""
    began = time.perf_counter()
    done = sum(result() is None for result in calls(count))
    seconds = time.perf_counter() - began
    assert done == count, f"{done} of {count} results"
    return count / seconds


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """Our three ways."""
    count = bench.sizes["tasks"]
    with Runtime(bench.folder / "home", workers=2) as runtime, Executor(runtime) as executor:

        def one_by_one(count: int) -> list[Callable[[], None]]:
            return [info.result for info in runtime.start_many(noop, [()] * count)]

        def submitted(count: int) -> list[Callable[[], None]]:
            return [future.result for future in [executor.submit(noop) for _ in range(count)]]

        def measure(count: int) -> dict[str, float]:
            return {
                AT_ONCE: rate_of(runtime, noop, count),
                ONE_BY_ONE: rate(one_by_one, count),
                SUBMITTED: rate(submitted, count),
            }

        measure(count // 4)
        yield lambda: measure(count)


@contextmanager
def pool(bench: Bench) -> Iterator[Measure]:
    """`multiprocessing.Pool`."""
    count = bench.sizes["tasks"]
    with multiprocessing.get_context("spawn").Pool(2) as pool:

        def applied(count: int) -> list[Callable[[], None]]:
            return [result.get for result in [pool.apply_async(nothing) for _ in range(count)]]

        rate(applied, count // 4)
        yield lambda: dict.fromkeys((AT_ONCE, ONE_BY_ONE, SUBMITTED), rate(applied, count))
        pool.close()
        pool.join()


@contextmanager
def process_pool(bench: Bench) -> Iterator[Measure]:
    """`concurrent.futures.ProcessPoolExecutor`."""
    count = bench.sizes["tasks"] // 2  # it is slower
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:

        def submitted(count: int) -> list[Callable[[], None]]:
            return [future.result for future in [pool.submit(nothing) for _ in range(count)]]

        rate(submitted, count // 4)
        yield lambda: dict.fromkeys((AT_ONCE, ONE_BY_ONE, SUBMITTED), rate(submitted, count))


POOL, PROCESS_POOL = "multiprocessing.Pool", "ProcessPoolExecutor"

CASE = Case(
    name="natural",
    title="Durable no-op tasks, one call for each",
    about=__doc__ or "",
    rows=tuple(Row(name, "tasks/s", more=True) for name in (AT_ONCE, ONE_BY_ONE, SUBMITTED)),
    contenders={OURS: ours, POOL: pool, PROCESS_POOL: process_pool},
    targets=(
        Target("`result` one by one at least 1.2 × Pool", ONE_BY_ONE, "at least", 1.2, POOL),
        Target("`result` one by one at least 0.55 × `results`", ONE_BY_ONE, "at least", 0.55, OURS, AT_ONCE),
        Target("`submit` at least 1.1 × Pool", SUBMITTED, "at least", 1.1, POOL),
        Target("`submit` at least 4 × ProcessPoolExecutor", SUBMITTED, "at least", 4, PROCESS_POOL),
    ),
    sizes={"tasks": 20_000},
    short={"tasks": 400},
    bounds=(
        "For each `submit` the caller's thread makes an id, a row and a future, and another thread sets it: "
        "the client needs 20 to 28 µs of processor time for a task, where `start_many` and `result` need some"
        " 10. Up to 7 of them make the future; its condition takes 1,360 of its 1,650 bytes. The supervisor "
        "and both workers need some 45 µs on the same two processors. A START carries 2,000 tasks then, the "
        "most that it may, so larger ones would gain nothing."
    ),
)

if __name__ == "__main__":
    main(CASE)

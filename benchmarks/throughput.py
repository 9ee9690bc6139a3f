"""Benchmark of durable no-op tasks per second: all calls at once, from the first call to the last result.

Understudy stores every task on disk (fsync in group commit). So does the floor, which takes the same way and
does nothing else: client, supervisor, worker and back over Unix sockets with msgpack. `multiprocessing.Pool`
and `ProcessPoolExecutor` store nothing. All get all calls at once: by `start_many` and `results` here, by
`apply_async` and `get` or `submit` and `result` there.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager

from floors.near import task_floor
from suite.case import BEST_DURABLE, Bench, Case, Measure, Row, Target
from suite.program import main
from suite.rate import rate_of
from understudy import Runtime, task

WORKERS = {"1 worker": 1, "2 workers": 2}


@task
def noop() -> None:
    """A no-op, as a task."""


def nothing() -> None:
    """A no-op, as a function."""


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """A home for each number of workers."""
    with ExitStack() as stack:
        runtimes = {
            row: stack.enter_context(Runtime(bench.folder / f"{workers}", workers=workers))
            for row, workers in WORKERS.items()
        }

        for runtime in runtimes.values():
            rate_of(runtime, noop, bench.sizes["tasks"] // 4)
        yield lambda: {row: rate_of(runtime, noop, bench.sizes["tasks"]) for row, runtime in runtimes.items()}


@contextmanager
def floor(bench: Bench) -> Iterator[Measure]:
    """A floor for each number of workers."""
    count = bench.sizes["tasks"]
    with ExitStack() as stack:
        floors = {}
        for row, workers in WORKERS.items():
            folder = bench.folder / f"{workers}"
            folder.mkdir()
            floors[row] = stack.enter_context(task_floor(folder, workers))
            floors[row].many(count // 4)
        yield lambda: {row: count / found.many(count) for row, found in floors.items()}


@contextmanager
def pool(bench: Bench) -> Iterator[Measure]:
    """`multiprocessing.Pool`, whose processes are started afresh (spawn), as ours are."""
    count = bench.sizes["tasks"]
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pools = {row: stack.enter_context(context.Pool(workers)) for row, workers in WORKERS.items()}

        def rate(row: str, count: int) -> float:
            began = time.perf_counter()
            results = [pools[row].apply_async(nothing) for _ in range(count)]
            done = sum(result.get(60) is None for result in results)
            seconds = time.perf_counter() - began
            assert done == count, f"{done} of {count} results"
            return count / seconds

        for row in pools:
            rate(row, count // 4)
        yield lambda: {row: rate(row, count) for row in pools}
        for found in pools.values():
            found.close()
            found.join()


@contextmanager
def executor(bench: Bench) -> Iterator[Measure]:
    """`concurrent.futures.ProcessPoolExecutor`."""
    count = bench.sizes["tasks"] // 2  # it is slower
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pools = {
            row: stack.enter_context(ProcessPoolExecutor(workers, context))
            for row, workers in WORKERS.items()
        }

        def rate(row: str, count: int) -> float:
            began = time.perf_counter()
            futures = [pools[row].submit(nothing) for _ in range(count)]
            done = sum(future.result(60) is None for future in futures)
            seconds = time.perf_counter() - began
            assert done == count, f"{done} of {count} results"
            return count / seconds

        for row in pools:
            rate(row, count // 4)
        yield lambda: {row: rate(row, count) for row in pools}


POOL = "multiprocessing.Pool"
PEERS = ("celery", "dramatiq", "rq", "taskiq", "huey", "dbos", "ray", "xoscar", "thespian")

CASE = Case(
    name="throughput",
    title="Durable no-op tasks, all at once, call to result",
    about=__doc__ or "",
    rows=(Row("1 worker", "tasks/s", more=True), Row("2 workers", "tasks/s", more=True)),
    contenders={"understudy": ours, "floor": floor, POOL: pool, "ProcessPoolExecutor": executor},
    targets=(
        Target("at least 2.5 × Pool, 1 worker", "1 worker", "at least", 2.5, POOL),
        Target("at least 2.5 × Pool, 2 workers", "2 workers", "at least", 2.5, POOL),
        Target("at least 20 × the best durable peer", "2 workers", "at least", 20, BEST_DURABLE),
        Target("at least 0.35 × floor, 1 worker", "1 worker", "at least", 0.35, "floor"),
        Target("at least 0.35 × floor, 2 workers", "2 workers", "at least", 0.35, "floor"),
    ),
    sizes={"tasks": 20_000},
    short={"tasks": 400},
    peers=dict.fromkeys(PEERS, ("2 workers",)),
    bounds=(
        "The supervisor's event loop, which is at work all the time. In a profile a fifth of it goes into "
        "taking in starts and the rest into dispatch, records, packing and reports, with no function above "
        "an eighth; all that the floor's supervisor does for a task is to unpack twice, pack twice and put "
        "one entry into a dictionary."
    ),
)

if __name__ == "__main__":
    main(CASE)

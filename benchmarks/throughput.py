"""Durable no-op tasks per second, from the client's call to its result, against multiprocessing.Pool in the same run.

Ours keeps every task on disk (fsync in group commit); the pool keeps nothing. Both use two worker processes and are
given all calls at once (`start_many` and `results` here, `apply_async` and `get` there). The two alternate, so that a
noisy machine is noisy for both; medians and their ratio are what counts.

    python benchmarks/throughput.py [--tasks N] [--rounds N] [--workers N] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from typing import Any

from understudy import Runtime, task


@task
def noop() -> None:
    """Nothing at all, as a task."""


def nothing() -> None:
    """Nothing at all, as a function."""


def ours(runtime: Runtime, count: int) -> float:
    """Tasks per second."""
    began = time.perf_counter()
    infos = runtime.start_many(noop, [()] * count)
    done = sum(value is None for value in runtime.results(infos))
    seconds = time.perf_counter() - began
    assert done == count, f"{done} of {count} results"
    return count / seconds


def pools(pool: Any, count: int) -> float:
    """Calls per second."""
    began = time.perf_counter()
    results = [pool.apply_async(nothing) for _ in range(count)]
    done = sum(result.get() is None for result in results)
    seconds = time.perf_counter() - began
    assert done == count, f"{done} of {count} results"
    return count / seconds


def measure(tasks: int, rounds: int, workers: int) -> dict[str, Any]:
    """Alternate the two, after a round each that is not counted."""
    rates: dict[str, list[float]] = {"understudy": [], "multiprocessing.Pool": []}
    with (
        tempfile.TemporaryDirectory(prefix="understudy-bench-") as home,
        multiprocessing.get_context("spawn").Pool(workers) as pool,
        Runtime(home, workers=workers) as runtime,
    ):
        ours(runtime, tasks // 4)
        pools(pool, tasks // 4)
        for _ in range(rounds):
            rates["understudy"].append(ours(runtime, tasks))
            rates["multiprocessing.Pool"].append(pools(pool, tasks))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    pairs = [a / b for a, b in zip(*rates.values(), strict=True)]
    return {
        "tasks": tasks,
        "rounds": rounds,
        "workers": workers,
        "durability": "disk (fsync)",
        "per_second": {name: round(rate) for name, rate in medians.items()},
        "spread": {name: [round(min(found)), round(max(found))] for name, found in rates.items()},
        "ratio": round(statistics.median(pairs), 2),
        "ratio_spread": [round(min(pairs), 2), round(max(pairs), 2)],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.tasks, options.rounds, options.workers)
    if options.json:
        print(json.dumps(found))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"no-op tasks, call to result, {options.workers} workers, median of {options.rounds}")
    table.add_column("")
    table.add_column("per second", justify="right")
    table.add_column("min to max", justify="right")
    table.add_column("kept on disk")
    for name, rate in found["per_second"].items():
        low, high = found["spread"][name]
        kept = "every task" if name == "understudy" else "nothing"
        table.add_row(name, f"{rate:,}", f"{low:,} to {high:,}", kept)
    console = Console()
    console.print(table)
    low, high = found["ratio_spread"]
    console.print(f"ratio, pair by pair: median {found['ratio']} (from {low} to {high})")


if __name__ == "__main__":
    main()

"""Benchmark of schedules: how late the first line of a run begins, and what 100,000 schedules cost that are not due.

Late is the time from the second for which the run is due to the first line of its code. One schedule is due at a time,
and then many are due at the same time. Memory and processor time are those of the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Runtime, current, task


@task
def late() -> float:
    """How many seconds after its time the first line runs."""
    now = time.time()
    trigger = current().trigger
    assert trigger is not None
    assert trigger.scheduled_at is not None
    return now - trigger.scheduled_at


def _p99(values: list[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]


def _made(runtime: Runtime, count: int, options: Callable[[int], dict[str, Any]]) -> list[str]:
    """The keys of new schedules. Several threads make them and share commits."""
    with ThreadPoolExecutor(32) as threads:
        infos = threads.map(lambda number: runtime.schedule(late, **options(number)), range(count))
        return [info.key for info in infos]


def _lateness(runtime: Runtime, keys: list[str]) -> list[float]:
    """The lateness of the one run of each of these schedules, in seconds."""
    while any(runtime.schedule_info(key).state != "ended" for key in (keys[0], keys[-1])):
        time.sleep(0.05)
    runs = [run for key in keys for each in runtime.schedule_history(key) if (run := each.run_id) is not None]
    assert len(runs) == len(keys)
    return [float(value) for value in runtime.results(runs, timeout=60)]


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """An embedded supervisor."""
    sizes = bench.sizes
    with Runtime(bench.folder / "home", workers=2, durability="disk") as runtime:
        supervisor = psutil.Process(runtime.supervisor_pid)
        rest: dict[str, float] = {}

        def measure() -> dict[str, float]:
            singles = _made(runtime, sizes["single"], lambda number: {"after": 1 + 0.05 * number})
            one = _p99(_lateness(runtime, singles))
            at = time.time() + 3 + sizes["at once"] / 500
            together = _made(runtime, sizes["at once"], lambda _: {"at": at})
            assert time.time() < at, "this machine takes too long to make the schedules"
            many = _p99(_lateness(runtime, together))
            if not rest:  # as many again would be more than a home may have
                rest.update(costs(runtime, supervisor))
            return {"late, one due": 1e3 * one, "late, many due": 1e3 * many, **rest}

        def costs(runtime: Runtime, supervisor: psutil.Process) -> dict[str, float]:
            used = supervisor.memory_info().rss
            _made(runtime, sizes["schedules"], lambda _: {"cron": "0 0 1 1 *"})
            more = supervisor.memory_info().rss - used
            time.sleep(1)
            start, began = sum(supervisor.cpu_times()[:2]), time.monotonic()
            time.sleep(sizes["milliseconds"] / 1e3)
            idle = (sum(supervisor.cpu_times()[:2]) - start) / (time.monotonic() - began)
            return {"memory": more / 2**20, "processor time": 100 * idle}

        yield measure


CASE = Case(
    name="schedules",
    title="Schedules: due time to first line, and 100,000 that are not due",
    about=__doc__ or "",
    rows=(
        Row("late, one due", "ms"),
        Row("late, many due", "ms"),
        Row("memory", "MiB"),
        Row("processor time", "%"),
    ),
    contenders={"understudy": ours},
    targets=(
        Target("p99 at most 50 ms for one", "late, one due", "at most", 50),
        Target("p99 at most 1 s for 10,000 at once", "late, many due", "at most", 1_000),
        Target("100,000 take at most 80 MiB more", "memory", "at most", 80),
        Target("100,000 take at most 0.2 % of a processor", "processor time", "at most", 0.2),
    ),
    sizes={"single": 100, "at once": 10_000, "schedules": 100_000, "milliseconds": 10_000},
    short={"single": 5, "at once": 50, "schedules": 50, "milliseconds": 200},
    peers={"apscheduler": ("late, one due", "late, many due")},
    rounds=1,
    bounds=(
        "Each of 10,000 occurrences is a start, a first line and an end, and its schedule is read once and written "
        "twice. That takes the supervisor some 90 µs."
    ),
)

if __name__ == "__main__":
    main(CASE)

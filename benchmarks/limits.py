"""Benchmark of limits: tasks under many keys, and no-ops beside tasks that are held.

100,000 no-ops under 1,000 keys, each of which lets two run at once, against the same no-ops without a limit; all calls
at once, from the first call to the last result. Then no-ops without a limit on a home in which as many tasks wait at
one, against the same on an empty home.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from suite.case import Bench, Case, Measure, Row, Target
from suite.program import main
from suite.rate import rate_of
from understudy import Limit, Runtime, Task, receive, task

KEYS = 1_000
HOSTS = Limit("hosts", concurrency=2)
GATE = Limit("one at a time", concurrency=1)


@task(limit=HOSTS, limit_by="key")
def keyed(key: str) -> None:
    """A no-op under a key."""


@task
def unkeyed(key: str) -> None:
    """The same without a limit."""


@task(limit=GATE, timeout=None)
def held() -> None:
    """Keeps all others of its kind waiting."""
    receive()


@task
def noop() -> None:
    """A no-op."""


def rate_with_keys(runtime: Runtime, task: Task[..., Any], count: int) -> float:
    """Tasks per second, each with one of the keys."""
    return rate_of(runtime, task, count, [f"key {number % KEYS}" for number in range(count)])


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """Under keys, and beside tasks that are held."""
    count = bench.sizes["tasks"]
    with (
        Runtime(bench.folder / "keys", workers=2) as keys,
        Runtime(bench.folder / "held", workers=2) as beside,
    ):
        rate_with_keys(keys, keyed, count // 10)
        rate_of(beside, noop, count // 10)
        beside.start_many(held, [()] * count)
        yield lambda: {
            "1,000 keys": rate_with_keys(keys, keyed, count),
            "beside as many held": rate_of(beside, noop, count),
        }


@contextmanager
def without(bench: Bench) -> Iterator[Measure]:
    """The same tasks without a limit, and on an empty home."""
    count = bench.sizes["tasks"]
    with Runtime(bench.folder / "without", workers=2) as runtime:
        rate_with_keys(runtime, unkeyed, count // 10)
        rate_of(runtime, noop, count // 10)
        yield lambda: {
            "1,000 keys": rate_with_keys(runtime, unkeyed, count),
            "beside as many held": rate_of(runtime, noop, count),
        }


WITHOUT = "no limit, empty home"

CASE = Case(
    name="limits",
    title="Tasks at limits",
    about=__doc__ or "",
    rows=(
        Row("1,000 keys", "tasks/s", more=True),
        Row("beside as many held", "tasks/s", more=True),
    ),
    contenders={"understudy": ours, WITHOUT: without},
    targets=(
        Target("at least 0.7 × no limit", "1,000 keys", "at least", 0.7, WITHOUT),
        Target("at least 0.9 × an empty home", "beside as many held", "at least", 0.9, WITHOUT),
    ),
    sizes={"tasks": 100_000},
    short={"tasks": 400},
    bounds=(
        "The supervisor's event loop. To take in a task with a limit, to let it in and to let the next one in at "
        "its end takes half as long as all else that the loop does for a no-op. Where many processors are free, "
        "the quotient is that of the loop alone."
    ),
)

if __name__ == "__main__":
    main(CASE)

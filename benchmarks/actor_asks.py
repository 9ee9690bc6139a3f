"""Benchmark of one ask to a class actor at a time: from the call to its answer.

Each ask changes the actor. The answer of a durable one has its commit behind it; the floor commits once for each
message, and answers after that. An ask to a passive actor builds the object from the disk first. Beside them are `run`
of a no-op task, which commits twice, a proxy of a `multiprocessing` manager and, as a peer, an actor of Ray. These two
store nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Any

from floors.near import ask_floor
from suite.actors import IDLE, start, wait_until_passive
from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.figures import quantile
from suite.program import main
from understudy import Actor, Runtime, task

DURABLE, DURABLE_P99, PASSIVE, VOLATILE = "durable, p50", "durable, p99", "passive, p50", "not durable, p50"


class Counter(Actor, name="asks:Counter", durable=True):
    """Counts, on disk."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count


class Sleeper(Counter, name="asks:Sleeper", idle=IDLE):
    """Counts, and leaves memory when nobody asks it."""

    transient = ("fresh",)

    def on_start(self) -> None:
        """It is in memory from now on."""
        self.fresh = True

    def first(self) -> bool:
        """Change it; whether this is its first message since it was passive."""
        self.count += 1
        fresh, self.fresh = self.fresh, False
        return fresh


class Volatile(Actor, name="asks:Volatile"):
    """Counts, in memory only."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count


@task(name="asks:noop")
def noop() -> None:
    """A no-op."""


def times(call: Callable[[int], None], count: int) -> list[float]:
    """Milliseconds of the calls with 1, 2, 3 and so on."""
    found = []
    for n in range(1, count + 1):
        began = time.perf_counter()
        call(n)
        found.append((time.perf_counter() - began) * 1e3)
    return found


def counted(add: Callable[[], int]) -> Callable[[int], None]:
    """A call that adds 1, and checks that nobody else has."""
    offset: list[int] = []

    def call(n: int) -> None:
        count = add()
        if not offset or n == 1:
            offset[:] = [count - n]
        assert count == n + offset[0], f"{count}, not {n + offset[0]}"

    return call


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """`call`, which asks and waits."""
    count = bench.sizes["asks"]
    with Runtime(bench.folder / "home", workers=1) as runtime:
        durable, volatile = runtime.actor(Counter, "one"), runtime.actor(Volatile, "one")
        add = counted(lambda: durable.call(Counter.add, 1))
        add_volatile = counted(lambda: volatile.call(Volatile.add, 1))
        sleepers = start(runtime, bench.folder / "home", Sleeper, count)

        def wake(n: int) -> None:
            assert sleepers[n - 1].call(Sleeper.first), "it was not passive"

        times(add, 20)
        times(add_volatile, 20)

        def measure() -> dict[str, float]:
            found = times(add, count)
            wait_until_passive()
            return {
                DURABLE: quantile(found, 0.5),
                DURABLE_P99: quantile(found, 0.99),
                PASSIVE: quantile(times(wake, count), 0.5),
                VOLATILE: quantile(times(add_volatile, count), 0.5),
            }

        yield measure


@contextmanager
def floor(bench: Bench) -> Iterator[Measure]:
    """The same way, bare."""
    with ask_floor(bench.folder) as near:

        def ask(n: int) -> None:
            near.ask(n)

        times(ask, 20)

        def measure() -> dict[str, float]:
            found = times(ask, bench.sizes["asks"])
            return {DURABLE: quantile(found, 0.5), DURABLE_P99: quantile(found, 0.99)}

        yield measure


@contextmanager
def run(bench: Bench) -> Iterator[Measure]:
    """A no-op task."""
    with Runtime(bench.folder / "home", workers=1) as runtime:

        def call(_: int) -> None:
            assert runtime.run(noop, timeout=30) is None

        times(call, 20)

        def measure() -> dict[str, float]:
            found = times(call, bench.sizes["asks"])
            return {DURABLE: quantile(found, 0.5), DURABLE_P99: quantile(found, 0.99)}

        yield measure


class Managed:
    """Counts in the process of a manager."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count


class Manager(BaseManager):
    """Has the counter."""


Manager.register("Managed", Managed)


@contextmanager
def manager(bench: Bench) -> Iterator[Measure]:
    """A proxy of an object in a process of its own."""
    with Manager(ctx=get_context("spawn")) as started:
        proxy: Any = started.Managed()  # type: ignore[attr-defined]  # `register` has made it
        add = counted(lambda: int(proxy.add(1)))
        times(add, 20)
        yield lambda: {VOLATILE: quantile(times(add, bench.sizes["asks"]), 0.5)}


CASE = Case(
    name="actor_asks",
    title="Asks to class actors, one at a time",
    about=__doc__ or "",
    rows=tuple(Row(row, "ms") for row in (DURABLE, DURABLE_P99, PASSIVE, VOLATILE)),
    contenders={OURS: ours, "floor": floor, "`run`": run, "manager": manager},
    targets=(
        Target("durable p50 at most 2.5 × floor", DURABLE, "at most", 2.5, "floor"),
        Target("durable p50 at most 0.75 × `run` of a no-op", DURABLE, "at most", 0.75, "`run`"),
        Target(
            "to a passive one at most 1.5 × to an active one, p50", PASSIVE, "at most", 1.5, OURS, DURABLE
        ),
        Target("not durable, p50 at most 10 × a manager", VOLATILE, "at most", 10, "manager"),
        Target("not durable, p50 at most 0.2 × Ray", VOLATILE, "at most", 0.2, "Ray actors"),
    ),
    sizes={"asks": 300},
    short={"asks": 5},
    peers={"ray_actors": (VOLATILE,)},
    bounds=(
        "The supervisor, between the two processes: it is on a processor for some 440 µs of an ask that stores "
        "nothing, and for some 940 µs of a durable one, its commit included. The client needs 200 to 290 µs, the "
        "worker 240 to 370. In a profile of the supervisor no function but the commit takes a twentieth. A "
        "manager answers by itself."
    ),
)

if __name__ == "__main__":
    main(CASE)

"""Benchmark of class actors that rest: the memory of each, a restart with many of them, and reminders.

Actors that are idle stay in the memory of a worker until they are passive. Passive ones are on disk only, and so are
reminders. Memory is the growth of the supervisor, its fork server and the workers together. A page that several
processes share counts once, and pages of files do not count. That of passive actors and of reminders is that of a new
supervisor, compared with one without them. The restart begins with the start of the new supervisor and ends with the
answer of a passive actor. The resident size is that of the supervisor a second later, as `ps` shows it. Reminders that
are due at once change their actors; the time runs from when they are due until the last one is handled. Pykka's actors
are threads.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suite.actors import AT_ONCE, IDLE, ask_each, start
from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.probe import family, memory, resident
from suite.program import main
from suite.pykka_threads import memory_each
from understudy import Actor, Runtime, get_all

ACTIVE, PASSIVE, REPLY, RESIDENT, REMINDERS, DUE = (
    "active, memory each",
    "passive, memory each",
    "restart to first reply",
    "resident",
    "reminders, memory",
    "reminders due at once",
)

#: Reminders of one actor, and of one of those whose reminders are due at once.
EACH = 500
BELL_EACH = 10


class Counter(Actor, name="rest:Counter", durable=True, idle=None):
    """Counts, and stays in memory."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """Change it."""
        self.count += 1
        return self.count


class Warm(Counter, name="rest:Warm"):
    """The first actors."""


class Sleeper(Actor, name="rest:Sleeper", durable=True, idle=IDLE):
    """Counts, and leaves memory."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """Change it."""
        self.count += 1
        return self.count


class Diary(Actor, name="rest:Diary", durable=True, idle=IDLE):
    """Has reminders of tomorrow."""

    def note_all(self) -> None:
        """Set them."""
        for number in range(EACH):
            self.remind(f"{number}", Diary.note_all, delay=86_400)


class Bell(Actor, name="rest:Bell", durable=True):
    """Counts its reminders."""

    def __init__(self) -> None:
        self.count, self.last = 0, 0.0

    def set(self, count: int, at: float) -> None:
        """Set this many for the same time."""
        for number in range(count):
            self.remind(f"{number}", Bell.ring, at=at)

    def ring(self) -> None:
        """One of them has come."""
        self.count, self.last = self.count + 1, time.time()

    def rung(self) -> tuple[int, float]:
        """How many have come, and when the last one came."""
        return self.count, self.last


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """One home, which is served anew in every round."""
    home, sizes = bench.folder / "home", bench.sizes

    def serve() -> Runtime:
        return Runtime(home, workers=2, drain=0, active_actors=1_000_000)

    with serve() as runtime:
        # The buffers that all processes need are there afterwards.
        assert set(ask_each(start(runtime, home, Warm, AT_ONCE), Warm.add)) == {1}
        empty = settled(runtime)
        actors = start(runtime, home, Counter, sizes["active actors"])
        assert set(ask_each(actors, Counter.add)) == {1}
        active = (settled(runtime) - empty) / len(actors) / 1e3
        start(runtime, home, Sleeper, sizes["passive actors"])
        runtime.stop_supervisor(now=True)
    with serve() as runtime:
        assert runtime.call("rest:Sleeper/0", "add") == 1
        passive = settled(runtime)
        diaries = start(runtime, home, Diary, max(1, sizes["reminders"] // EACH))
        ask_each(diaries, Diary.note_all)
        runtime.stop_supervisor(now=True)
    rounds = 1

    def measure() -> dict[str, float]:
        nonlocal rounds
        rounds += 1
        began = time.monotonic()
        with serve() as runtime:
            assert runtime.call("rest:Sleeper/0", "add") == rounds
            replied = time.monotonic() - began
            found = {
                ACTIVE: active,
                PASSIVE: max(0, passive - empty) / sizes["passive actors"] / 1e3,
                REPLY: replied,
                REMINDERS: max(0, settled(runtime) - passive) / 1e6,
                RESIDENT: resident(runtime.supervisor_pid) / 1e6,
                DUE: ring(runtime, home, sizes["reminders due"], rounds),
            }
            os.kill(runtime.supervisor_pid, signal.SIGKILL)
        return found

    yield measure


def ring(runtime: Runtime, home: Path, count: int, round_: int) -> float:
    """Seconds from when this many reminders are due until the last one is handled."""
    bells = [runtime.actor(Bell, f"{round_}, {number}") for number in range(count // BELL_EACH)]
    at = time.time() + 2 + count / 2_000
    get_all([bell.submit(Bell.set, BELL_EACH, at) for bell in bells])
    assert time.time() < at, "setting them has taken too long"
    time.sleep(at - time.time())
    rung: list[tuple[int, float]] = []
    while sum(number for number, _ in rung) < count:
        time.sleep(0.5)
        rung = get_all([bell.submit(Bell.rung) for bell in bells])
    return max(last for _, last in rung) - at


def settled(runtime: Runtime) -> int:
    """The memory of all processes, once nothing more is under way."""
    time.sleep(1)
    return memory(family(runtime))


@contextmanager
def threads(bench: Bench) -> Iterator[Measure]:
    """Pykka."""
    found = {ACTIVE: memory_each(min(bench.sizes["active actors"], 2_000))}
    yield lambda: found


CASE = Case(
    name="actor_rest",
    title="Class actors that rest",
    about=__doc__ or "",
    rows=(
        Row(ACTIVE, "KB"),
        Row(PASSIVE, "KB"),
        Row(REPLY, "s"),
        Row(RESIDENT, "MB"),
        Row(REMINDERS, "MB"),
        Row(DUE, "s"),
    ),
    contenders={OURS: ours, "Pykka threads": threads},
    targets=(
        Target("active at most 3 KB", ACTIVE, "at most", 3),
        Target("passive at most 0.01 KB", PASSIVE, "at most", 0.01),
        Target("restart to first reply at most 1 s", REPLY, "at most", 1),
        Target("resident at most 150 MB", RESIDENT, "at most", 150),
        Target("reminders at most 10 MB", REMINDERS, "at most", 10),
        Target("reminders due at once at most 1 s", DUE, "at most", 1),
    ),
    sizes={"active actors": 20_000, "passive actors": 50_000, "reminders": 50_000, "reminders due": 10_000},
    short={"active actors": 20, "passive actors": 20, "reminders": EACH, "reminders due": 20},
    full={"passive actors": 1_000_000, "reminders": 1_000_000},
    rounds=3,
    large=True,
    limit=900,
)

if __name__ == "__main__":
    main(CASE)

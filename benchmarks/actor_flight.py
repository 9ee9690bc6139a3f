"""Benchmark of many messages to class actors at once: asks, from the first call to the last answer, and tells.

The asks change their actors, which are durable: an answer has its commit behind it. They go to one actor, to 100, and
one each to many that are passive. The tells go to one actor; the time runs until the answer of an ask behind them, so
all of them are done and on disk. Pykka's actors are threads of this process; theirs, Xoscar's and Ray's asks are on no
disk. The floor's messages are received and acknowledged, each on disk until then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pykka

from floors.near import message_floor
from suite.actors import IDLE, start, wait_until_passive
from suite.case import OURS, Bench, Case, Measure, Row, Target
from suite.program import main
from understudy import Actor, ActorRef, Runtime, get_all

ONE, MANY, PASSIVE, TELLS = "1 actor", "100 actors", "passive, one each", "tells"
ACTORS = {ONE: 1, MANY: 100}
PYKKA = "Pykka threads"


class Counter(Actor, name="flight:Counter", durable=True):
    """Counts, on disk."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count

    def on_receive(self, n: int) -> None:
        """Change it, without an answer."""
        self.count += n


class Sleeper(Actor, name="flight:Sleeper", durable=True, idle=IDLE):
    """Counts, and leaves memory when nobody asks it."""

    transient = ("fresh",)

    def __init__(self) -> None:
        self.count = 0

    def on_start(self) -> None:
        """It is in memory from now on."""
        self.fresh = True

    def first(self) -> bool:
        """Change it; whether this is its first message since it was passive."""
        self.count += 1
        fresh, self.fresh = self.fresh, False
        return fresh


def asked(refs: Sequence[ActorRef[Counter]], count: int) -> float:
    """Asks per second, spread over these actors."""
    before = get_all([ref.submit(Counter.add, 0) for ref in refs])
    began = time.perf_counter()
    get_all([refs[n % len(refs)].submit(Counter.add, 1) for n in range(count)])
    seconds = time.perf_counter() - began
    after = get_all([ref.submit(Counter.add, 0) for ref in refs])
    assert sum(after) == sum(before) + count, f"{sum(after) - sum(before)} of {count} asks"
    return count / seconds


def woken(refs: Sequence[ActorRef[Sleeper]]) -> float:
    """Asks per second, one to each of these passive actors."""
    wait_until_passive()
    began = time.perf_counter()
    fresh = get_all([ref.submit(Sleeper.first) for ref in refs])
    seconds = time.perf_counter() - began
    assert all(fresh), "some were not passive"
    return len(refs) / seconds


def told(ref: ActorRef[Counter], count: int) -> float:
    """Tells per second, until all are done and on disk."""
    before = ref.call(Counter.add, 0)
    began = time.perf_counter()
    sent = [ref.tell(1, block=False) for _ in range(count)]
    after = ref.call(Counter.add, 0)
    seconds = time.perf_counter() - began
    get_all(sent)
    assert after == before + count, f"{after - before} of {count} tells"
    return count / seconds


@contextmanager
def ours(bench: Bench) -> Iterator[Measure]:
    """`submit`, and then all answers; `tell` without waiting."""
    asks, tells = bench.sizes["asks"], bench.sizes["tells"]
    home = bench.folder / "home"
    with Runtime(home, workers=2, mailbox_messages=1_000_000) as runtime:
        refs = start(runtime, home, Counter, ACTORS[MANY])
        sleepers = start(runtime, home, Sleeper, bench.sizes["passive actors"])
        asked(refs, asks // 10)
        yield lambda: {
            **{row: asked(refs[:actors], asks) for row, actors in ACTORS.items()},
            TELLS: told(refs[0], tells),
            PASSIVE: woken(sleepers),
        }


@contextmanager
def floor(bench: Bench) -> Iterator[Measure]:
    """Messages to one mailbox, bare."""
    count = bench.sizes["tells"]
    with message_floor(bench.folder, 2) as near:
        near.many(1, count)
        yield lambda: {TELLS: count / near.many(1, count)}


class Threaded(pykka.ThreadingActor):
    """Counts, in a thread of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count


@contextmanager
def threads(bench: Bench) -> Iterator[Measure]:
    """Pykka: `ask` without waiting, and then all answers."""
    refs = [Threaded.start() for _ in range(ACTORS[MANY])]

    def asked(actors: int) -> float:
        count = bench.sizes["asks"]
        began = time.perf_counter()
        answers = pykka.get_all([refs[n % actors].ask(1, block=False) for n in range(count)])
        seconds = time.perf_counter() - began
        assert len(answers) == count
        return count / seconds

    try:
        yield lambda: {row: asked(actors) for row, actors in ACTORS.items()}
    finally:
        pykka.ActorRegistry.stop_all()


CASE = Case(
    name="actor_flight",
    title="Messages to class actors, many at once",
    about=__doc__ or "",
    rows=tuple(Row(row, "messages/s", more=True) for row in (ONE, MANY, PASSIVE, TELLS)),
    contenders={OURS: ours, "floor": floor, PYKKA: threads},
    targets=(
        *(
            Target(f"at least {bound} × {peer}, {row}", row, "at least", bound, peer)
            for peer, bound in ((PYKKA, 0.5), ("Xoscar actors", 4), ("Ray actors", 15))
            for row in ACTORS
        ),
        Target("tells at least 0.3 × floor", TELLS, "at least", 0.3, "floor"),
        Target("one each to passive actors at least 15,000/s", PASSIVE, "at least", 15_000),
    ),
    sizes={"asks": 10_000, "tells": 10_000, "passive actors": 10_000},
    short={"asks": 200, "tells": 200, "passive actors": 50},
    full={"passive actors": 100_000},
    rounds=5,
    peers=dict.fromkeys(("xoscar_actors", "ray_actors"), tuple(ACTORS)),
    actors=ACTORS,
    bounds=(
        "Processor time: an ask takes about 100 µs of it in client, supervisor and worker, a tell about 80, and two "
        "processors share that. Pykka's message stays in its process, and the floor packs a message and commits it. "
        "The supervisor loads, starts and writes a passive actor for its one message, which costs as much as a task."
    ),
)

if __name__ == "__main__":
    main(CASE)

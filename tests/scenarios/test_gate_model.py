"""Limits and unique tasks against a model, by what the tasks saw themselves, for any sequence of actions.

The tasks note their begin and their end. A crash ends what was under way; the clock passes and is set back. Never is
one too many under way, never does one wait while a place is free, and the newest arguments are never lost.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from models import check_model
from understudy import Limit, Rate, SupervisorLost, TaskInfo, current, sleep, task
from understudy.storage.check import _Rows
from understudy.storage.memory_store import MemoryView
from understudy.testing import InlineRuntime

EXAMPLES = 25
STEPS = 30
KEYS = "abc"
PLACES = 2
RATE = Rate(3, per=10)
#: Seconds by which a window is longer than its rate says, and some for rounding.
MARGIN = 0.011
CAPPED = Limit("places of the model", concurrency=PLACES)

Name = tuple[str, str]


class Seen:
    """What the tasks of one machine have noted."""

    def __init__(self) -> None:
        self.under_way: defaultdict[Name, set[str]] = defaultdict(set)
        self.begins: defaultdict[Name, list[float]] = defaultdict(list)
        self.done: defaultdict[str, list[int]] = defaultdict(list)


SEEN: list[tuple[Seen, InlineRuntime]] = []


@contextmanager
def noted(kind: str, key: str) -> Iterator[None]:
    seen, rt = SEEN[-1]
    seen.begins[kind, key].append(rt.clock.monotonic())
    id = current().id
    assert id not in seen.under_way[kind, key]
    seen.under_way[kind, key].add(id)
    try:
        yield
    finally:
        seen.under_way[kind, key].discard(id)


@task(limit=CAPPED, limit_by="key", retry=100, timeout=None)
def model_capped(key: str, seconds: float) -> None:
    with noted("capped", key):
        sleep(seconds)


@task(rate=RATE, limit_by="key", retry=100)
async def model_paced(key: str) -> None:
    with noted("paced", key):
        pass


@task(unique=True, unique_by="key", on_conflict="replace", retry=100, timeout=None)
def model_sole(key: str, version: int, seconds: float) -> None:
    with noted("sole", key):
        if sleep(seconds):
            SEEN[-1][0].done[key].append(version)


keys, seconds = st.sampled_from(KEYS), st.sampled_from([0.0, 1.0, 7.0])


class Machine(RuleBasedStateMachine):
    """Any sequence of starts, ends, crashes and times."""

    def __init__(self) -> None:
        super().__init__()
        self.rt = InlineRuntime(now=1_700_000_000)
        self.seen = Seen()
        SEEN.append((self.seen, self.rt))
        self.infos: list[TaskInfo[None]] = []
        self.versions = itertools.count(1)
        #: By key, the version that was started last, and its task.
        self.last: dict[str, tuple[int, str]] = {}
        self.cancelled: set[str] = set()
        #: Until when more may count for a rate than has begun: a new supervisor counts what may have begun until its
        #: start, and takes times behind a clock that was set back for that time.
        self.counts_more_until = 0.0

    @rule(key=keys, seconds=seconds, count=st.integers(1, 6), priority=st.integers(-1, 1))
    def start_capped(self, key: str, seconds: float, count: int, priority: int) -> None:
        start = model_capped.options(priority=priority)
        self.infos += self.rt.start_many(start, [(key, seconds)] * count)

    @rule(key=keys, count=st.integers(1, 5))
    def start_paced(self, key: str, count: int) -> None:
        self.infos += self.rt.start_many(model_paced, [key] * count)

    @rule(key=keys, seconds=seconds, delay=st.sampled_from([None, 2.0]))
    def start_sole(self, key: str, seconds: float, delay: float | None) -> None:
        version = next(self.versions)
        start = model_sole if delay is None else model_sole.options(delay=delay)
        info = self.rt.start(start, key, version, seconds)
        self.last[key] = version, info.id
        self.infos.append(info)

    @precondition(lambda self: self.infos)
    @rule(which=st.integers(0, 1000))
    def cancel(self, which: int) -> None:
        info = self.infos[which % len(self.infos)]
        if info.cancel():
            self.cancelled.add(info.id)

    @rule(seconds=st.sampled_from([0.5, 2.0, 9.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.rt.clock.advance(seconds)

    @rule(seconds=st.sampled_from([5.0, 3600.0]))
    def set_the_clock_back(self, seconds: float) -> None:
        self.rt._driver.epoch -= seconds

    @rule()
    def crash(self) -> None:
        self.rt.settle()
        for under_way in self.seen.under_way.values():
            under_way.clear()
        self.rt.crash()
        self.has_crashed()

    def has_crashed(self) -> None:
        self.counts_more_until = self.rt.clock.monotonic() + RATE.per + MARGIN

    @rule(point=st.sampled_from(["commit.before", "commit.after", "acknowledge.before", "result.before"]))
    def crash_soon(self, point: str) -> None:
        """The next start or end meets it. What runs then notes no end."""
        self.rt.settle()
        world = self.rt._world
        self.rt.crash_at(point)
        with suppress(SupervisorLost):
            self.infos.append(self.rt.start(model_capped, "a", 0.0))
        self.rt.settle()
        self.rt._driver.crashes.clear()
        if self.rt._world is not world:
            self.has_crashed()
            running = {record.id for record in self.rt.list(state="running", limit=1000)}
            for under_way in self.seen.under_way.values():
                under_way.intersection_update(running)

    @invariant()
    def never_one_too_many(self) -> None:
        self.rt.settle()
        for (kind, key), under_way in self.seen.under_way.items():
            assert len(under_way) <= {"capped": PLACES, "sole": 1}.get(kind, 1 << 30), (kind, key)
        for (kind, _), begins in self.seen.begins.items():
            if kind == "paced":
                for first, at in enumerate(begins):
                    assert sum(other < at + RATE.per for other in begins[first:]) <= RATE.count

    @invariant()
    def never_idle_with_a_place_free(self) -> None:
        self.rt.settle()
        now = self.rt.clock.monotonic()
        for info in self.rt.limits():
            if not info.waiting or info.key is None:
                continue
            if info.concurrency is not None:
                assert info.used == PLACES, info
            elif now > self.counts_more_until:
                begins = self.seen.begins["paced", info.key]
                assert sum(at > now - RATE.per - MARGIN for at in begins) + info.used >= RATE.count, info

    @invariant()
    def never_two_that_have_begun(self) -> None:
        live = [record for record in self.rt.list(task=model_sole, limit=1000) if not record.ended_already]
        for key in KEYS:
            mine = [record for record in live if record.args[0] == key]
            assert len(mine) <= 2, mine
            assert sum(record.waits_for == "unique" for record in mine) == max(0, len(mine) - 1)

    def teardown(self) -> None:
        try:
            self.rt.clock.advance(100_000)
            for info in self.infos:
                assert info.status().ended_already
            for limit in self.rt.limits():
                assert (limit.used, limit.waiting) == (0, 0)
            for key, (version, id) in self.last.items():
                if id not in self.cancelled:
                    assert self.seen.done[key][-1] == version
            with MemoryView(self.rt._rows).read() as snapshot:
                assert _Rows(snapshot, None).report().problems == []
        finally:
            self.rt.close()
            SEEN.pop()


@pytest.mark.timeout(90)
def test_limits_and_unique_tasks_against_a_model():
    check_model(Machine, EXAMPLES, STEPS)

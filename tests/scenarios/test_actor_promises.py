"""What the manual says of class actors in single sentences, each tried by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from understudy import Actor, InvalidOption, Retry
from understudy.testing import InlineRuntime, kill_worker, wait_until

#: The names of actors whose object was made, in their order.
STARTED: list[str] = []


class Lodger(Actor, durable=True, idle=None, reply_keep=10, retry=Retry(1, 0.01)):
    transient = ("here",)

    def __init__(self, name: str) -> None:
        self.name = name
        self.count = self.failures = 0

    def on_start(self) -> None:
        self.here = True
        STARTED.append(self.name)

    def on_failure(self, *_: object) -> None:
        self.failures += 1

    def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

    def leave(self) -> None:
        self.passivate()

    def fail(self) -> None:
        raise ValueError("no")

    def remind_of(self, number: int) -> None:
        for n in range(number):
            self.remind(f"{n}", Lodger.add, delay=3600)

    def ring(self, every: float) -> None:
        self.remind("bell", Lodger.add, every=every)


class Guest(Lodger):
    pass


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    STARTED.clear()
    with InlineRuntime(active_actors=2) as rt:
        yield rt


def test_beyond_active_actors_the_one_goes_that_was_used_least_recently(rt: InlineRuntime) -> None:
    a, b, c = [rt.actor(Lodger, name, name) for name in "abc"]
    for ref in (a, b, a, c, a, c):
        ref.call(Lodger.add)
    before = len(STARTED)
    for ref in (a, c):
        ref.call(Lodger.add)
    assert STARTED[before:] == [], "these are in memory"
    b.call(Lodger.add)
    assert STARTED[before:] == ["b"], "this one was put to rest"
    c.call(Lodger.add)
    assert STARTED[before:] == ["b"]
    assert a.call(Lodger.add) == 5
    assert STARTED[before:] == ["b", "a"], "for it the one went that had rested longest"


def test_without_idle_it_stays_in_memory_for_ever(rt: InlineRuntime) -> None:
    ref = rt.actor(Lodger, "a", "a")
    rt.clock.advance(10 * 86_400)
    assert ref.call(Lodger.add) == 1
    assert STARTED == ["a"]


def test_passivate_lets_go_of_the_object(rt: InlineRuntime) -> None:
    ref = rt.actor(Lodger, "a", "a")
    ref.call(Lodger.add)
    ref.call(Lodger.leave)
    assert ref.call(Lodger.add) == 2
    assert STARTED == ["a", "a"]


def test_transient_attributes_are_no_state(rt: InlineRuntime) -> None:
    ref = rt.actor(Lodger, "a", "a")
    ref.call(Lodger.add)
    rt.crash()
    assert ref.proxy().here.get() is True
    assert STARTED == ["a", "a"]


def test_an_answer_under_a_key_is_kept_for_reply_keep_seconds(rt: InlineRuntime) -> None:
    keyed = rt.actor(Lodger, "a", "a").options(key="order-17")
    assert keyed.call(Lodger.add) == 1
    rt.clock.advance(9)
    assert keyed.call(Lodger.add) == 1
    rt.clock.advance(120)
    assert keyed.call(Lodger.add) == 2


def test_actors_that_were_at_rest_on_a_dead_worker_come_back(rt: InlineRuntime) -> None:
    a, b = [rt.actor(Lodger, name, name) for name in "ab"]
    assert [ref.call(Lodger.add) for ref in (a, b)] == [1, 1]
    kill_worker(a)
    assert [ref.call(Lodger.add) for ref in (a, b)] == [2, 2]
    assert [rt.dead_letters(ref) for ref in (a, b)] == [[], []]


def test_names_are_unique_within_a_class(rt: InlineRuntime) -> None:
    lodger, guest = rt.actor(Lodger, "ada", "1"), rt.actor(Guest, "ada", "2")
    assert lodger != guest
    assert (rt.lookup(Lodger, "ada"), rt.lookup(Guest, "ada")) == (lodger, guest)
    assert guest.call(Guest.add) == 1


def test_on_failure_runs_once_a_message_has_failed_for_good_and_the_actor_lives_on(rt: InlineRuntime) -> None:
    ref = rt.actor(Lodger, "a", "a")
    ref.cast(Lodger.fail)
    assert wait_until(lambda: ref.proxy().failures.get(timeout=10) == 1)
    assert len(rt.dead_letters(ref)) == 1
    assert ref.call(Lodger.add) == 1


def test_an_actor_has_at_most_a_thousand_reminders(rt: InlineRuntime) -> None:
    ref = rt.actor(Lodger, "a", "a")
    with pytest.raises(InvalidOption, match="at most 1,000 reminders"):
        ref.call(Lodger.remind_of, 1_001)
    ref.call(Lodger.remind_of, 1_000)
    rt.clock.advance(3600)
    assert ref.call(Lodger.add) == 1_001


def test_a_period_of_a_reminder_is_a_tenth_of_a_second_or_more(rt: InlineRuntime) -> None:
    ref = rt.actor(Lodger, "a", "a")
    with pytest.raises(InvalidOption, match="every"):
        ref.call(Lodger.ring, 0.09)
    ref.call(Lodger.ring, 0.1)
    rt.clock.advance(1)
    assert ref.proxy().count.get() == 10

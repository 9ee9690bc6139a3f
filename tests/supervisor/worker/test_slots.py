"""Slots with real threads: order, limit, park and resume, threads used again, and no wake-up lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from understudy.actors.attempt.host import Assignment
from understudy.supervisor.channel.begin_tokens import BeginTokens
from understudy.supervisor.worker.slots import Slots
from waiting import until

SPARE = Assignment(b"", "t", 1, None, b"", None, None, None, False, 0)


def numbered(count: int, start: int = 0, task: str = "t") -> list[Assignment]:
    return [SPARE._replace(id=n.to_bytes(16, "big"), task=task) for n in range(start, start + count)]


class Stage:
    """Slots whose assignments do what the test says, with a count of what happens."""

    def __init__(self, limit: int, quick: Callable[[Assignment], bool] = lambda _: False) -> None:
        self.tokens = BeginTokens()
        self.lock = threading.Lock()
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.threads: set[int] = set()
        self.most = self.working = self.idle = 0
        self.play: Callable[[int], None] = lambda _: None
        self.slots = Slots(limit, self.tokens, self._perform, self._idle, quick)

    def add(self, assignments: list[Assignment]) -> None:
        self.tokens.add(len(assignments))
        self.slots.add(assignments)

    def _idle(self) -> None:
        self.idle += 1

    def _perform(self, assignment: Assignment) -> None:
        number = int.from_bytes(assignment.id, "big")
        with self.lock:
            self.begun.append(number)
            self.threads.add(threading.get_ident())
            self.working += 1
            self.most = max(self.most, self.working)
        try:
            self.play(number)
        finally:
            with self.lock:
                self.working -= 1
                self.ended.append(number)

    def park(self) -> None:
        with self.lock:
            self.working -= 1
        self.slots.parked()

    def resume(self) -> None:
        self.slots.resumed()
        with self.lock:
            self.working += 1


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(limit: int, quick: Callable[[Assignment], bool] = lambda _: False) -> Stage:
        made.append(Stage(limit, quick))
        return made[-1]

    yield make
    for it in made:
        until(lambda it=it: not it.working)  # type: ignore[misc]


def test_in_the_order_they_were_added_and_never_more_than_the_limit(stage: Any):
    it = stage(3)
    gate = threading.Semaphore(0)
    it.play = lambda _: gate.acquire()
    it.add(numbered(10))
    until(lambda: len(it.begun) == 3)
    for n in range(10):
        gate.release()
        until(lambda n=n: len(it.ended) == n + 1)
    assert it.most == 3
    assert sorted(it.begun) == list(range(10))
    one = stage(1)
    one.add(numbered(200))
    until(lambda: len(one.ended) == 200)
    assert one.begun == list(range(200))


def test_threads_that_the_system_refuses_are_asked_for_again(stage: Any, monkeypatch: Any):
    it = stage(8)
    it.add(numbered(1))
    until(lambda: len(it.ended) == 1)
    go = threading.Event()
    it.play = lambda number: (it.park(), go.wait(), it.resume()) if number == 1 else None
    start, refused = threading.Thread.start, threading.Event()

    def refuse(_thread: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    # The one thread there is waits inside its task, whose wait must not fail for want of another.
    it.add(numbered(3, 1))
    until(refused.is_set)
    assert it.ended == [0]
    monkeypatch.setattr(threading.Thread, "start", start)
    until(lambda: sorted(it.ended) == [0, 2, 3])
    go.set()
    until(lambda: sorted(it.ended) == [0, 1, 2, 3])
    until(lambda: it.slots._free == it.slots._threads)


def test_threads_are_used_again(stage: Any):
    it = stage(4)
    for round in range(50):
        it.add(numbered(4, 4 * round))
        until(lambda round=round: len(it.ended) == 4 * (round + 1))
    assert len(it.threads) <= 8
    until(lambda: it.idle > 0)


def test_without_a_token_nothing_begins_and_what_is_dropped_never_does(stage: Any):
    it = stage(2)
    gate = threading.Event()
    it.play = lambda _: gate.wait()
    it.tokens.add(2)
    it.slots.add(numbered(5))
    until(lambda: len(it.begun) == 2)
    assert [int.from_bytes(a.id, "big") for a in it.slots.drop(2)] == [4, 3]
    assert [int.from_bytes(a.id, "big") for a in it.slots.drop(9)] == [2]
    gate.set()
    it.add(numbered(1, 77))
    until(lambda: sorted(it.ended) == [0, 1, 77])
    assert it.slots.drop(1) == []


def test_a_parked_task_gives_its_slot_up_and_goes_on_at_once(stage: Any):
    it = stage(1)
    parked, wake, gate = threading.Event(), threading.Event(), threading.Event()

    def play(number: int) -> None:
        if number == 0:
            it.park()
            parked.set()
            wake.wait()
            it.resume()
        else:
            gate.wait()

    it.play = play
    it.add(numbered(3))
    assert parked.wait(10)
    until(lambda: it.begun == [0, 1])
    wake.set()
    until(lambda: 0 in it.ended)  # although the only slot is taken
    assert it.begun == [0, 1]
    gate.set()
    until(lambda: len(it.ended) == 3)


def test_surplus_threads_end(stage: Any):
    it = stage(2)
    wake = threading.Event()

    def play(_number: int) -> None:
        it.park()
        wake.wait()
        it.resume()

    it.play = play
    it.add(numbered(60))
    until(lambda: len(it.begun) == 60)
    assert it.slots._threads >= 60
    wake.set()
    until(lambda: len(it.ended) == 60)
    until(lambda: it.slots._threads <= 3)
    it.play = lambda _: None
    it.add(numbered(10, 100))
    until(lambda: len(it.ended) == 70)


def test_an_assignment_that_cannot_be_performed_costs_no_slot(stage: Any, caplog: Any):
    it = stage(1)

    def play(number: int) -> None:
        if number % 2:
            raise SystemExit(3)

    it.play = play
    it.add(numbered(10))
    until(lambda: len(it.ended) == 10)
    it.add(numbered(1, 50))
    until(lambda: 50 in it.ended)
    assert "could not be run" in caplog.text


def test_quick_ones_run_on_one_thread_until_one_takes_its_time(stage: Any):
    it = stage(4, quick=lambda assignment: assignment.task == "quick")
    it.add(numbered(500, task="quick"))
    until(lambda: len(it.ended) == 500)
    gate = threading.Event()
    it.play = lambda number: gate.wait() if number == 1_000 else None
    it.add(numbered(20, 1_000, task="quick"))
    until(lambda: len(it.ended) == 519, message=lambda: f"behind a blocked quick one: {len(it.ended)}")
    gate.set()
    until(lambda: len(it.ended) == 520)


def test_a_quick_one_that_waits_keeps_nobody_back(stage: Any):
    it = stage(4, quick=lambda assignment: assignment.task == "quick")
    wake = threading.Event()

    def play(number: int) -> None:
        if number < 5:
            it.park()
            wake.wait()
            it.resume()

    it.play = play
    it.add(numbered(5, task="quick"))
    until(lambda: len(it.begun) == 5)
    it.add(numbered(30, 100, task="quick"))
    it.add(numbered(30, 200))
    until(lambda: len(it.ended) == 60)
    wake.set()
    until(lambda: len(it.ended) == 65)


@pytest.mark.parametrize("seed", range(4))
def test_no_wake_up_is_lost(stage: Any, seed: int):
    """Adds, drops, parks and ends in any order: in the end all that was not dropped has run, once."""
    rng = random.Random(seed)
    it = stage(rng.choice([1, 2, 4]), quick=lambda assignment: assignment.id[-1] % 3 == 0)

    def play(number: int) -> None:
        if number % 5 == 0:
            it.park()
            time.sleep(0.0002 * (number % 3))
            it.resume()

    it.play = play
    expected: set[int] = set()
    number = 0
    for _ in range(150):
        count = rng.randint(1, 12)
        batch = numbered(count, number)
        it.add(batch)
        expected.update(range(number, number + count))
        number += count
        if rng.random() < 0.3:
            # As the supervisor does: the tokens first, then as many off the end of the queue.
            taken = it.tokens.drain()
            back = it.slots.drop(taken)
            assert len(back) == taken, "what has no token has not begun"
            expected.difference_update(int.from_bytes(a.id, "big") for a in back)
        if rng.random() < 0.2:
            until(lambda: len(it.ended) >= len(expected) // 2)
    until(lambda: len(it.ended) >= len(expected), message=lambda: f"{expected - set(it.ended)} never ran")
    assert sorted(it.ended) == sorted(expected)

"""The queue of turns against a sorted list."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from understudy.actors.ids import new_id
from understudy.actors.task.options import Options
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, ready_sort
from understudy.supervisor.tasks.catalog import UNKNOWN_RULES
from understudy.supervisor.tasks.letter_box import LetterBox
from understudy.supervisor.tasks.live_actor import LiveActor
from understudy.supervisor.tasks.turn_queue import TurnQueue


def actor(priority: int = 0) -> LiveActor:
    id, store = new_id(), None
    box = LetterBox(store, id, durable=False)  # type: ignore[arg-type]  # it is not used
    record = Record(id, "Account", time.time(), id)
    return LiveActor(record, Options(priority=priority), Lane.SYNC, UNKNOWN_RULES, box)


def drained(queue: TurnQueue) -> list[LiveActor]:
    return [queue.take() for _ in range(len(queue))]


@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), max_size=30))
def test_the_highest_priority_comes_first_and_then_the_longest_wait(pushed: list[tuple[int, bool]]) -> None:
    queue, expected = TurnQueue(), []
    for priority, stays in pushed:
        one = actor(priority)
        queue.push(one)
        queue.push(one)
        if stays:
            expected.append(one)
        else:
            queue.discard(one)
    expected.sort(key=lambda one: -one.options.priority)
    assert len(queue) == len(expected)
    if expected:
        assert queue.sort == ready_sort(expected[0].options.priority)
    assert drained(queue) == expected


def test_what_is_put_back_is_the_first_again() -> None:
    queue = TurnQueue()
    actors: list[Any] = [actor() for _ in range(4)]
    for each in actors:
        queue.push(each)
    taken = [queue.take(), queue.take()]
    for each in reversed(taken):
        queue.put_back(each)
    assert drained(queue) == actors


def test_one_that_was_discarded_may_come_again() -> None:
    queue = TurnQueue()
    first, second = actor(), actor()
    queue.push(first)
    queue.push(second)
    queue.discard(first)
    queue.push(first)
    assert drained(queue) == [second, first]

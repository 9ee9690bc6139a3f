"""Reading the ends of tasks from the store: how far ahead, and for whom."""

from __future__ import annotations

import random
import threading
from typing import Any, cast

import pytest

from understudy.actors.errors import StoreCorrupt
from understudy.storage.reader import End, Reader
from understudy.supervisor.client.stored_ends import READ_AHEAD, READ_AHEAD_BYTES, StoredEnds


class FakeReader:
    """A store of ended tasks with the ids 0, 1, 2 …; notes how many rows each read looks at."""

    is_open = True

    def __init__(self, count: int) -> None:
        self.ended = {number: self.end(number) for number in range(count)}
        self.reads: list[int] = []

    @staticmethod
    def end(number: int) -> End:
        return number.to_bytes(16, "big"), "completed", None, None

    def ends(self, id: bytes, rows: int = 1, ahead_bytes: int = READ_AHEAD_BYTES) -> list[End]:
        assert ahead_bytes == READ_AHEAD_BYTES
        self.reads.append(rows)
        number = int.from_bytes(id, "big")
        if number not in self.ended:
            return []
        return [self.ended[later] for later in range(number, number + rows) if later in self.ended]


def of(reader: Any) -> StoredEnds:
    return StoredEnds(cast("Reader", reader))


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_it_reads_further_ahead_the_longer_it_is_asked_in_order():
    reader = FakeReader(10_000)
    ends = of(reader)
    for number in range(10_000):
        assert ends.find(key(number)) == reader.end(number)
        assert len(ends._ahead.ends) < READ_AHEAD
    assert reader.reads[:6] == [1, 2, 4, 8, 16, 32]
    assert max(reader.reads) == READ_AHEAD
    assert len(reader.reads) < 30


def test_it_reads_hardly_ahead_for_one_who_asks_here_and_there():
    reader = FakeReader(10_000)
    ends = of(reader)
    for number in random.Random(7).sample(range(10_000), 500):
        assert ends.find(key(number)) == reader.end(number)
    assert sum(reader.reads) <= 2 * 500


def test_a_task_that_has_not_ended_is_asked_for_again():
    reader = FakeReader(3)
    del reader.ended[1]
    ends = of(reader)
    assert ends.find(key(0)) is not None
    assert ends.find(key(1)) is None
    reader.ended[1] = reader.end(1)
    assert ends.find(key(1)) == reader.end(1)
    assert ends.find(key(2)) == reader.end(2)


def test_an_end_is_given_as_often_as_it_is_asked_for():
    reader = FakeReader(4)
    ends = of(reader)
    for number in (0, 1, 1, 2, 2, 3, 0):
        assert ends.find(key(number)) == reader.end(number)


def test_each_thread_reads_ahead_for_itself():
    reader = FakeReader(100)
    ends = of(reader)
    for number in range(7):
        ends.find(key(number))
    assert reader.reads == [1, 2, 4]
    thread = threading.Thread(target=lambda: ends.find(key(50)))
    thread.start()
    thread.join()
    assert reader.reads == [1, 2, 4, 1]
    ends.find(key(7))
    assert reader.reads == [1, 2, 4, 1, 8]


def test_what_was_read_ahead_is_forgotten_when_tasks_are_removed():
    reader = FakeReader(4)
    ends = of(reader)
    assert ends.find(key(0)) is not None
    assert ends.find(key(1)) is not None
    reader.ended.clear()
    assert ends.find(key(2)) is not None
    ends.forget()
    assert ends.find(key(3)) is None


class Damaged(FakeReader):
    """A store with one damaged page, which every read of that task comes to."""

    def ends(self, id: bytes, rows: int = 1, ahead_bytes: int = READ_AHEAD_BYTES) -> list[End]:
        found = super().ends(id, rows, ahead_bytes)
        if self.end(5) in found:
            raise StoreCorrupt("damaged")
        return found


def test_damage_is_an_error_of_the_damaged_task_alone():
    reader = Damaged(10)
    ends = of(reader)
    for number in (0, 1, 2, 3, 4, 6, 7):
        assert ends.find(key(number)) == reader.end(number)
    with pytest.raises(StoreCorrupt):
        ends.find(key(5))

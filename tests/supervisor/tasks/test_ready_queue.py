"""A lane against a sorted list, over a disk that commits late."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from understudy.supervisor.tasks import ready_queue
from understudy.supervisor.tasks.ready_queue import ReadyQueue

WINDOW, LOW, CHUNK = 8, 3, 4


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


def pop(lane: ReadyQueue, valid: Callable[[bytes], bool]) -> bytes | None:
    taken = lane.take(1, valid)
    return taken[0] if taken else None


class Disk:
    """Rows that a lane may read once they are committed."""

    def __init__(self) -> None:
        self.rows: set[bytes] = set()

    def read_after(self, start: bytes, count: int) -> list[bytes]:
        return sorted(row for row in self.rows if row > start)[:count]


class LaneMachine(RuleBasedStateMachine):
    """The table's use of a lane: a key's row is written, sealed and committed some time after the push."""

    keys = Bundle("keys")

    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.lane = ReadyQueue(self.disk.read_after, WINDOW, LOW, CHUNK)
        #: What stands in the lane.
        self.model: set[bytes] = set()
        #: Changes that are to be written, and those on their way to disk: key -> whether a row is there afterwards.
        self.dirty: dict[bytes, bool] = {}
        self.sealed: dict[bytes, bool] = {}
        self.popped: list[bytes] = []

    def teardown(self) -> None:
        # Everything comes out in the end, in order, whatever is still on its way to disk.
        rest = []
        while (found := pop(self.lane, self.valid)) is not None:
            self.model.discard(found)
            rest.append(found)
            self.dirty[found] = False
        assert not self.model, f"lost: {self.model}"
        assert rest == sorted(rest)

    def valid(self, found: bytes) -> bool:
        return found in self.model

    def on_disk(self, found: bytes) -> bool:
        return found not in self.dirty and found not in self.sealed

    @rule(target=keys, number=st.integers(0, 60))
    def push(self, number: int) -> bytes:
        new = key(number)
        if new not in self.model:
            self.model.add(new)
            self.dirty[new] = True
            self.lane.push(new)
        return new

    @rule(old=keys)
    def discard(self, old: bytes) -> None:
        if old in self.model:
            self.model.discard(old)
            self.dirty[old] = False
            self.lane.discard(old)

    @rule()
    def pop(self) -> None:
        found = pop(self.lane, self.valid)
        assert found == min(self.model, default=None), "the first one, and none twice"
        if found is not None:
            self.model.discard(found)
            self.dirty[found] = False

    @rule()
    def peek(self) -> None:
        assert self.lane.peek(self.valid) == min(self.model, default=None)

    @rule()
    def pop_and_put_back(self) -> None:
        found = pop(self.lane, self.valid)
        assert found == min(self.model, default=None)
        if found is not None:
            self.lane.put_back(found)

    @rule(numbers=st.lists(st.integers(0, 60), unique=True, max_size=12))
    def extend(self, numbers: list[int]) -> None:
        new = [key(number) for number in numbers if key(number) not in self.model]
        self.model.update(new)
        self.dirty.update(dict.fromkeys(new, True))
        if new:
            self.lane.extend(new)

    @rule(count=st.integers(1, 8), wanted=st.integers(0, 8))
    def take_many_and_put_some_back(self, count: int, wanted: int) -> None:
        taken = self.lane.take(count, self.valid)
        assert taken == sorted(self.model)[: len(taken)]
        assert taken or not self.model, "none only when the lane is empty"
        for found in taken[:wanted]:
            self.model.discard(found)
            self.dirty[found] = False
        for found in reversed(taken[wanted:]):
            self.lane.put_back(found)

    @precondition(lambda self: not self.sealed)
    @rule()
    def seal(self) -> None:
        self.sealed, self.dirty = self.dirty, {}

    @rule()
    def reach_the_disk(self) -> None:
        """The rows may be read a while before anybody is told of the commit."""
        for row, there in self.sealed.items():
            (self.disk.rows.add if there else self.disk.rows.discard)(row)

    @rule()
    def commit(self) -> None:
        self.reach_the_disk()
        told, self.sealed = self.sealed, {}
        for row, there in told.items():
            if there and row not in self.dirty:
                self.lane.committed([row])
        self.lane.cut(self.on_disk)

    @invariant()
    def memory_is_bounded(self) -> None:
        uncommitted = len(self.dirty) + len(self.sealed)
        assert len(self.lane) <= 2 * WINDOW + CHUNK + uncommitted
        assert len(self.lane._heap) <= 2 * len(self.lane) + 2 * CHUNK + uncommitted + 2 * WINDOW


LaneMachine.TestCase.settings = settings(
    max_examples=80, stateful_step_count=60, deadline=None, database=None
)
TestLane = LaneMachine.TestCase


def test_a_million_queued_keys_are_not_held():
    disk = Disk()
    lane = ReadyQueue(disk.read_after, 100)
    assert pop(lane, lambda _: True) is None  # the lane knows now that nothing is on disk
    turned_away = 0
    for number in range(1_000):
        disk.rows.add(key(number))
        if not lane.push(key(number)):
            lane.committed([key(number)])
            turned_away += 1
    assert len(lane) == 100
    assert turned_away == 900
    assert [pop(lane, lambda _: True) for _ in range(3)] == [key(0), key(1), key(2)]


def test_what_is_taken_out_again_and_again_behind_a_first_key_does_not_pile_up():
    lane = ReadyQueue(lambda _key, _count: [])
    pop(lane, lambda _: True)
    lane.push(key(0))
    for number in range(1, 20_000):
        lane.push(key(number))
        lane.discard(key(number))
    assert len(lane._heap) <= 2 * len(lane) + ready_queue.CHUNK + 1


def test_a_key_beyond_the_window_that_comes_first_is_held():
    lane = ReadyQueue(lambda _key, _count: [], 2)
    pop(lane, lambda _: True)
    for number in (5, 6, 7):
        lane.push(key(number))
    assert not lane.holds(key(7))
    assert lane.push(key(1))
    assert pop(lane, lambda _: True) == key(1)

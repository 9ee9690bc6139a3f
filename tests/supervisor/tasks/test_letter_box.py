"""The box of an actor against a list, over a disk that commits late and a supervisor that is started anew."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from understudy.actors.ids import new_id
from understudy.actors.refs.letter import READ_ONLY, Kind, Letter, flags_of, id_of_letter, kind_of
from understudy.storage.batch import Batch
from understudy.storage.tables.schema import Table
from understudy.supervisor.tasks import letter_box
from understudy.supervisor.tasks.letter_box import LetterBox

ID = new_id()
WINDOW = 4


def made(kind: Kind, flags: int = 0) -> bytes:
    return Letter(kind, flags, new_id(), None).pack()


def only_reads(letter: bytes) -> bool:
    return bool(letter) and bool(flags_of(letter) & READ_ONLY)


class Disk:
    """What a box uses of a store."""

    def __init__(self) -> None:
        self.batch = Batch()
        self.rows: dict[bytes, bytes] = {}

    def _all(self) -> dict[bytes, bytes | None]:
        return {**self.rows, **self.batch.rows[Table.ACTORS]}

    def get_many(self, _table: Table, keys: Any) -> dict[bytes, bytes]:
        there = self._all()
        return {key: value for key in keys if (value := there.get(key)) is not None}

    def get(self, _table: Table, key: bytes) -> bytes | None:
        return self._all().get(key)

    def scan(self, _table: Table, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        return [(key, self.rows[key]) for key in sorted(self.rows) if start <= key < stop]

    def delete(self, table: Table, key: bytes) -> None:
        self.batch.delete(table, key)

    def commit(self) -> None:
        self.rows = {key: value for key, value in self._all().items() if value is not None}
        self.batch = Batch()


class Boxes(RuleBasedStateMachine):
    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.patched = patch.object(letter_box, "WINDOW", WINDOW)
        self.patched.start()
        self.disk: Any = Disk()
        self.box = LetterBox(self.disk, ID, durable=self.durable)
        #: What is in it, by number; an empty letter was taken back.
        self.model: dict[int, bytes] = {}
        self.last = 0

    def teardown(self) -> None:
        self.patched.stop()

    @rule(kind=st.sampled_from((Kind.TELL, Kind.ASK, Kind.ASK, Kind.REMINDER, Kind.STOP)))
    def post(self, kind: Kind) -> None:
        letter = made(kind)
        self.box.post(letter)
        self.last += 1
        self.model[self.last] = letter

    @rule()
    def post_one_that_only_reads(self) -> None:
        letter = made(Kind.ASK, READ_ONLY)
        self.box.post(letter)
        self.last += 1
        self.model[self.last] = letter

    @rule(count=st.integers(1, 6))
    def acknowledge(self, count: int) -> None:
        first = self.box.first
        gone = self.box.acknowledge(first + count - 1)
        expected = [self.model.pop(number) for number in sorted(self.model) if number < first + count]
        assert [letter for letter in gone if letter] == [letter for letter in expected if letter]
        self._drop_empty()

    @rule(place=st.integers(0, WINDOW + 2))
    def take_back(self, place: int) -> None:
        number = self.box.first + place
        letter = self.model.get(number, b"")
        there = self.box.take_back(id_of_letter(letter)) if letter else None
        if there:
            self.model[number] = b""
            self._drop_empty()
        else:
            assert not only_reads(letter)
            assert not letter or place >= len(self.box._letters), "only one that is not in memory stays"

    @rule()
    def take_back_asks(self) -> None:
        asks = {
            number: letter
            for number, letter in self.model.items()
            if letter and kind_of(letter) in (Kind.ASK, Kind.STOP)
        }
        assert self.box.take_back_asks() == list(asks.values())
        self.model.update(dict.fromkeys(asks, b""))
        self._drop_empty()
        assert self.box.known is None

    def _drop_empty(self) -> None:
        while self.model and not self.model[min(self.model)]:
            del self.model[min(self.model)]

    @rule()
    def write(self) -> None:
        self.box.store_all()
        if self.durable:
            assert self.box.stored == self.box.last

    @rule()
    def commit(self) -> None:
        self.disk.commit()

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        """Only what is on disk is there; that must be all but asks at the end."""
        self.disk.commit()
        there = [letter for _, letter in self.disk.scan(Table.ACTORS, b"", b"\xff" * 20)]
        lost = [letter for letter in self.model.values() if letter and letter not in there]
        assert all(kind_of(letter) in (Kind.ASK, Kind.STOP) for letter in lost)
        self.box = LetterBox.load(self.disk, ID)
        self.last = self.box.last
        kept = {number: letter for number, letter in self.model.items() if letter in there}
        first = min(kept, default=1)
        self.model = {number: kept.get(number, b"") for number in range(first, max(kept, default=0) + 1)}
        asks = {id_of_letter(letter) for letter in there if kind_of(letter) in (Kind.ASK, Kind.STOP)}
        assert (self.box.known or set()) == asks

    @rule(most=st.integers(1, WINDOW))
    def head(self, most: int) -> None:
        expected = [self.model[number] for number in sorted(self.model)][:most]
        found = self.box.head(most)
        assert found == expected[: len(found)]
        assert bool(found) == bool(expected)

    @invariant()
    def reads(self) -> None:
        assert self.box.reads() == [letter for letter in self.model.values() if only_reads(letter)]

    @invariant()
    def counts(self) -> None:
        assert self.box.bytes == sum(map(len, self.model.values()))
        assert self.box.count == (self.last - min(self.model) + 1 if self.model else 0)
        assert len(self.box._letters) <= 2 * WINDOW or not self.durable


class VolatileBoxes(Boxes):
    durable = False

    @invariant()
    def nothing_on_disk(self) -> None:
        assert self.disk.batch.empty
        assert not self.disk.rows


TestBoxes = Boxes.TestCase
TestBoxes.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestVolatileBoxes = VolatileBoxes.TestCase
TestVolatileBoxes.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)


def test_a_box_with_gaps_is_loaded_up_to_its_window() -> None:
    disk: Any = Disk()
    box = LetterBox(disk, ID, durable=True)
    letters = [made(Kind.TELL), *(made(Kind.ASK, READ_ONLY) for _ in range(600)), made(Kind.TELL)]
    for letter in letters:
        box.post(letter)
    box.take_back_asks()
    disk.commit()
    again = LetterBox.load(disk, ID)
    assert len(again._letters) <= letter_box.WINDOW
    assert (again.first, again.count) == (1, 602)
    assert [letter for letter in again.acknowledge(602) if letter] == [letters[0], letters[-1]]

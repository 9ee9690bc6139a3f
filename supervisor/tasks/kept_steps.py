"""KeptSteps: the steps that a task, or an actor for its messages, has done, as rows on disk or on their way there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from ...storage.store import Store
from ...storage.tables.record import Record
from ...storage.tables.schema import Table
from ...storage.tables.task_step_rows import label_in, pack_step, step_key, steps_of, unpack_step

#: Steps, and bytes of their values, that a worker is given with an attempt, and with each answer to a request for more.
PAGE_ROWS: Final = 4_096
PAGE_BYTES: Final = 1024 * 1024

Page = tuple[list[tuple[bytes, bytes]], bool]
"""(label, encoded value) of steps in the order of their labels, and whether no others come after them."""


class KeptSteps:
    """Those of one task or actor. Its record says how many they are."""

    __slots__ = ("_id", "_store")

    def __init__(self, store: Store, id: bytes) -> None:
        self._store = store
        self._id = id

    def first_page(self, record: Record) -> tuple[int, int, list[tuple[bytes, bytes]], bool]:
        """What an assignment says of them: their number, the bytes of their values, and a page of small ones."""
        count, size = record.steps or (0, 0)
        rows, is_last = self.page()
        if sum(len(value) for _, value in rows) > PAGE_BYTES:
            # The last one is a large one. It is given when it is asked for: this attempt may not need it.
            rows, is_last = rows[:-1], False
        return count, size, rows, is_last

    def page(self, label: bytes = b"") -> Page:
        """The steps from this label on: at least one if there is one, however large it is."""
        rows = self._look(label)
        start, stop = steps_of(self._id)
        is_last = len(rows) < PAGE_ROWS and not self._store.look(
            Table.ACTORS, rows[-1][0] + b"\0" if rows else start + label, stop, limit=1
        )
        return [(label_in(key), _value_of(row)) for key, row in rows], is_last

    def _look(self, label: bytes = b"", letter: bytes = b"") -> list[tuple[bytes, bytes]]:
        start, stop = steps_of(self._id, letter)
        return self._store.look(Table.ACTORS, start + label, stop, limit=PAGE_ROWS, most_bytes=PAGE_BYTES)

    def keep(self, record: Record, letter: bytes, label: bytes, time: float, name: str, value: bytes) -> None:
        """Keep a step with the next commit, and note it in the record."""
        key = step_key(self._id, label, letter)
        count, size = record.steps or (0, 0)
        old = self._store.get(Table.ACTORS, key)
        if old is None:
            count += 1
        else:
            size -= len(_value_of(old))
        self._store.put(Table.ACTORS, key, pack_step(time, name, value))
        record.steps = count, size + len(value)

    def drop(self, record: Record, letters: Collection[bytes] = (b"",)) -> bool:
        """Remove all of them, or those of these letters, with the next commit; whether there were any."""
        if record.steps is None:
            return False
        count, size = record.steps
        for letter in letters:
            for key, row in self._rows(letter):
                self._store.delete(Table.ACTORS, key)
                count -= 1
                size -= len(_value_of(row))
        dropped = (count, size) != record.steps
        record.steps = (count, size) if count > 0 else None
        return dropped

    def copy(self, record: Record, other: Record) -> None:
        """Give them to another task, too, with the next commit."""
        for key, row in self._rows(b""):
            self._store.put(Table.ACTORS, step_key(other.id, label_in(key)), row)
        other.steps = record.steps

    def _rows(self, letter: bytes) -> Iterator[tuple[bytes, bytes]]:
        label = b""
        while rows := self._look(label, letter):
            yield from rows
            label = rows[-1][0][len(steps_of(self._id, letter)[0]) :] + b"\0"


def _value_of(row: bytes) -> bytes:
    """The encoded value of a step; of a damaged row nothing, which is no value: the step then fails by name."""
    try:
        return unpack_step(row).value
    except ValueError:
        return b""

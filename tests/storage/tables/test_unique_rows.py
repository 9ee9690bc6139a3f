"""The rows of unique tasks."""

from __future__ import annotations

import msgpack
import pytest

from understudy.actors.state import State
from understudy.storage.memory_store import MemoryRows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import MAX_KEY_BYTES, Table
from understudy.storage.tables.unique_rows import (
    UNIQUE,
    UniqueRow,
    is_row,
    is_until,
    key_in,
    own_key,
    prune_unique,
    row_key,
    unique_text,
)

ID, OTHER = bytes(15) + b"\1", bytes(15) + b"\2"
TEXT = unique_text("jobs:f", '["a", 1]')


@pytest.mark.parametrize(
    "row",
    [
        UniqueRow(TEXT, ID, 5.0),
        UniqueRow(TEXT, ID, 5.0, 65.5, OTHER, 7, OTHER),
        UniqueRow("x\0", ID, 5),
    ],
)
def test_a_row(row: UniqueRow):
    assert UniqueRow.unpack(row.pack()) == row
    own, *until = row.keys
    assert is_row(own)
    assert not is_until(own)
    assert [own_key(key) for key in until] == [own] * len(until)
    assert all(is_until(key) and key.startswith(UNIQUE) for key in until)


def test_texts():
    assert key_in(TEXT) == '["a", 1]'
    assert row_key(unique_text("a", "bc")) != row_key(unique_text("ab", "c"))
    assert len(row_key(unique_text("n" * 255, "k" * 10_000))) < MAX_KEY_BYTES


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xc1",
        msgpack.packb(5),
        msgpack.packb([TEXT, ID, 5.0]),
        msgpack.packb([5, ID, 5.0, None, None, None, None]),
        msgpack.packb([TEXT, b"short", 5.0, None, None, None, None]),
        msgpack.packb([TEXT, ID, "5", None, None, None, None]),
        msgpack.packb([TEXT, ID, 5.0, "6", None, None, None]),
        msgpack.packb([TEXT, ID, 5.0, None, "x", None, None]),
    ],
)
def test_damaged_rows(damaged: bytes):
    with pytest.raises(ValueError, match="not a row of a unique task"):
        UniqueRow.unpack(damaged)


class Store:
    """Rows that are on disk at once."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.get, self.scan = self.rows.get, self.rows.scan

    def put(self, row: UniqueRow) -> None:
        own, *until = row.keys
        self.rows._set(Table.ACTORS, own, row.pack())
        for key in until:
            self.rows._set(Table.ACTORS, key, b"")

    def delete(self, table: Table, key: bytes) -> None:
        if self.rows._rows[table].pop(key, None) is not None:
            self.rows._keys[table].remove(key)

    @property
    def left(self) -> int:
        return self.rows.count(Table.ACTORS)


def test_pruning_takes_what_is_over_and_leaves_the_rest():
    store = Store()
    for number in range(250):
        store.put(UniqueRow(unique_text("f", str(number)), ID, 0.0, float(number)))
    store.put(UniqueRow(TEXT, ID, 5.0))
    assert prune_unique(store, 99.0, 60) == 60
    assert prune_unique(store, 99.0, 60) == 40
    assert store.left == 2 * 150 + 1
    assert prune_unique(store, 1000.0, 1_000) == 150
    assert store.left == 1


def test_pruning_leaves_the_text_of_a_task_that_has_not_ended():
    store, record = Store(), Record(ID, "jobs:f", 5.0, ID)
    store.rows._set(Table.TASKS, ID, record.pack())
    row = UniqueRow(TEXT, ID, 0.0, 10.0)
    store.put(row)
    assert prune_unique(store, 11.0, 10) == 1
    assert store.get(Table.ACTORS, row_key(TEXT)) == row.pack()
    assert prune_unique(store, 11.0, 10) == 0
    record.state, record.ended = State.COMPLETED, 6.0
    store.rows._set(Table.TASKS, ID, record.pack())
    store.put(row)
    assert prune_unique(store, 11.0, 10) == 1
    assert store.left == 0


def test_pruning_leaves_a_text_whose_time_was_set_anew():
    store = Store()
    store.put(UniqueRow(TEXT, ID, 0.0, 10.0))
    store.put(UniqueRow(TEXT, ID, 0.0, 20.0))
    assert prune_unique(store, 11.0, 10) == 1
    assert store.left == 2
    store.rows._set(Table.ACTORS, row_key(TEXT), b"damaged")
    assert prune_unique(store, 21.0, 10) == 1
    assert store.left == 0

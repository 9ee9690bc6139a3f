from __future__ import annotations

import pytest

from desk import Desk
from understudy.actors.state import State
from understudy.storage.memory_store import MemoryStore
from understudy.storage.store import Store
from understudy.storage.tables.counts import (
    KEY_BYTES,
    by_state,
    change,
    count_key,
    none_changed,
    pack_counts,
    unpack_counts,
)
from understudy.storage.tables.record import CODES, STATES
from understudy.storage.tables.schema import Table


@pytest.fixture(params=[Store, MemoryStore])
def desk(request: pytest.FixtureRequest, open_desk) -> Desk:
    return open_desk(request.param)


def numbers(**changed: int) -> list[int]:
    counts = none_changed()
    for state, number in changed.items():
        counts[CODES[State(state)]] = number
    return counts


@pytest.mark.parametrize("name", ["jobs:add", "", "名" * 400, "\udcff"])
def test_a_row_comes_back_as_it_was(name: str):
    assert unpack_counts(pack_counts(name, [1, 2, 3, 4, 5, 6, 2**40])) == (name, [1, 2, 3, 4, 5, 6, 2**40])
    assert len(count_key(name)) == KEY_BYTES


def test_a_row_of_a_release_with_fewer_states_is_read():
    assert unpack_counts(pack_counts("a", [7, 8])) == ("a", [7, 8, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    "row", [b"", b"\x90", b"\x91\x01", pack_counts("a", [0] * (len(STATES) + 1)), b"\xc1"]
)
def test_a_damaged_row_is_refused(row: bytes):
    with pytest.raises(ValueError, match="not a row of counters"):
        unpack_counts(row)


def test_differences_are_added(desk: Desk):
    change(desk.store, {"a": numbers(queued=3), "b": numbers(), "c": numbers(failed=1)})
    desk.flush()
    change(desk.store, {"a": numbers(queued=-2, completed=2), "c": numbers(failed=-1)})
    change(desk.store, {"a": numbers(queued=-1, running=1)})
    desk.flush()
    rows = [unpack_counts(row) for _, row in desk.store.scan(Table.COUNTS)]
    assert [(name, by_state(counts)) for name, counts in rows] == [
        ("a", {State.RUNNING: 1, State.COMPLETED: 2})
    ]

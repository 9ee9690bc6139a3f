"""The rows of maps."""

from __future__ import annotations

import pytest

from understudy.actors.ids import new_id
from understudy.actors.map_ids import child_id, map_base
from understudy.storage.memory_store import MemoryRows
from understudy.storage.tables.actor_rows import owner_of
from understudy.storage.tables.map_rows import (
    KEPT,
    MAP,
    all_maps,
    kept_in,
    kept_key,
    kept_of,
    map_in,
    map_key,
    maps_of,
)
from understudy.storage.tables.schema import Table

PARENT = new_id()
BASE = map_base(new_id(), PARENT)
CHILDREN = [child_id(BASE, place) for place in range(3)]


def test_keys_hold_what_they_are_of():
    assert map_in(map_key(PARENT, BASE)) == (PARENT, BASE)
    key = kept_key(PARENT, BASE, CHILDREN[0])
    assert kept_in(key, b"".join(CHILDREN[1:])) == (PARENT, BASE, CHILDREN)
    assert kept_in(key, b"") == (PARENT, BASE, CHILDREN[:1])
    assert owner_of(key) is owner_of(map_key(PARENT, BASE)) is None, "they do not go with the record"


@pytest.mark.parametrize("key", [b"", MAP, MAP + bytes(27), MAP + bytes(29), KEPT + bytes(28)])
def test_what_is_no_map(key: bytes):
    with pytest.raises(ValueError, match="not a map"):
        map_in(key)


@pytest.mark.parametrize(
    ("key", "row"),
    [(KEPT + bytes(43), b""), (MAP + bytes(44), b""), (KEPT + bytes(44), bytes(15)), (KEPT + bytes(45), b"")],
)
def test_what_keeps_nobody(key: bytes, row: bytes):
    with pytest.raises(ValueError, match="malformed"):
        kept_in(key, row)


def test_ranges():
    rows = MemoryRows()
    others = [new_id(), new_id()]
    for parent in (PARENT, *others):
        rows._set(Table.ACTORS, map_key(parent, BASE), b"")
        rows._set(Table.ACTORS, kept_key(parent, BASE, CHILDREN[0]), b"")
    assert [key for key, _ in rows.scan(Table.ACTORS, *maps_of(PARENT))] == [map_key(PARENT, BASE)]
    assert len(rows.scan(Table.ACTORS, *all_maps())) == 3
    kept = rows.scan(Table.ACTORS, *kept_of(PARENT, BASE))
    assert [key for key, _ in kept] == [kept_key(PARENT, BASE, CHILDREN[0])]

from __future__ import annotations

import pytest

from understudy.actors.ids import new_id
from understudy.storage.memory_store import MemoryRows
from understudy.storage.tables.actor_rows import owner_of
from understudy.storage.tables.link_rows import LINK, link_in, link_key, links_of, parents
from understudy.storage.tables.monitor_rows import monitor_key
from understudy.storage.tables.schema import Table


def test_a_key_holds_both_ids():
    parent, child = new_id(), new_id()
    assert link_in(link_key(parent, child)) == (parent, child)
    assert owner_of(link_key(parent, child)) is None, "it does not go with the record of an actor"


@pytest.mark.parametrize("key", [b"", LINK, LINK + bytes(31), LINK + bytes(33), b"\x01" + bytes(32)])
def test_what_is_no_link(key: bytes):
    with pytest.raises(ValueError, match="not a link"):
        link_in(key)


def test_the_links_of_a_parent_and_all_parents():
    rows = MemoryRows()
    ids = sorted(new_id() for _ in range(4))
    for parent in ids[:3]:
        for _ in range(5):
            rows._set(Table.ACTORS, link_key(parent, new_id()), b"")
    rows._set(Table.ACTORS, monitor_key(ids[3], ids[0]), b"")
    rows._set(Table.ACTORS, b"\x0c" + bytes(32), b"")
    assert len(rows.scan(Table.ACTORS, *links_of(ids[1]))) == 5
    assert rows.scan(Table.ACTORS, *links_of(ids[3])) == []
    assert parents(rows.scan, b"", 10) == ids[:3]
    assert parents(rows.scan, b"", 2) == ids[:2]
    assert parents(rows.scan, ids[1], 2) == ids[2:3]
    assert parents(rows.scan, ids[2], 2) == []

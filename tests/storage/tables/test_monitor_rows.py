from __future__ import annotations

import pytest

from understudy.actors.ids import new_id
from understudy.storage.memory_store import MemoryRows
from understudy.storage.tables.actor_rows import owner_of
from understudy.storage.tables.link_rows import link_key
from understudy.storage.tables.monitor_rows import MONITOR, all_monitors, monitor_in, monitor_key, monitors_of
from understudy.storage.tables.schema import Table


def test_a_key_holds_both_ids():
    watcher, watched = new_id(), new_id()
    assert monitor_in(monitor_key(watcher, watched)) == (watcher, watched)
    assert owner_of(monitor_key(watcher, watched)) is None, "it does not go with the record of an actor"


@pytest.mark.parametrize("key", [b"", MONITOR, MONITOR + bytes(31), MONITOR + bytes(33), b"\x01" + bytes(32)])
def test_what_is_no_monitor(key: bytes):
    with pytest.raises(ValueError, match="not a monitor"):
        monitor_in(key)


def test_those_of_one_and_all():
    rows = MemoryRows()
    ids = sorted(new_id() for _ in range(3))
    keys = [monitor_key(watcher, watched) for watcher in ids for watched in ids if watcher != watched]
    for key in (*keys, link_key(ids[0], ids[1]), b"\x0f" + bytes(32)):
        rows._set(Table.ACTORS, key, b"")
    assert [key for key, _ in rows.scan(Table.ACTORS, *all_monitors())] == keys
    assert [key for key, _ in rows.scan(Table.ACTORS, *monitors_of(ids[1]))] == keys[2:4]

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.actors.errors import StoreCorrupt
from understudy.actors.ids import new_id
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.reader import Reader
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.tree_rows import NodeRow, node_key

TASK = new_id()


@pytest.fixture
def rows() -> MemoryRows:
    stored = MemoryRows()
    for path, row in {
        "shop": NodeRow(0, {"id": "shop", "strategy": "one_for_one"}),
        "shop/a": NodeRow(0, {"id": "a", "task": "jobs:f"}, task=TASK),
        "shop/gone": NodeRow(1, {"id": "gone", "task": "jobs:f"}, task=new_id()),
        "shops": NodeRow(0, {"id": "shops", "strategy": "one_for_one"}),
    }.items():
        stored._set(Table.ACTORS, node_key(path), row.pack())
    stored._set(Table.TASKS, TASK, Record(TASK, "jobs:f", 5.0, TASK).pack())
    return stored


def test_a_tree_and_what_is_in_it(rows: MemoryRows):
    reader = Reader(Path("nowhere"), MemoryView(rows))
    assert [node.path for node in reader.tree_nodes()] == ["shop", "shop/a", "shop/gone", "shops"]
    _, a, gone = reader.tree_nodes("shop")
    assert a.record is not None
    assert a.record.id == TASK
    assert gone.record is None
    assert [node.path for node in reader.tree_nodes("shop/a")] == ["shop/a"]
    assert reader.tree_nodes("other") == []


def test_a_damaged_one(rows: MemoryRows):
    rows._set(Table.ACTORS, node_key("shop/a"), b"\x07")
    with pytest.raises(StoreCorrupt, match="supervision tree shop/a is damaged"):
        Reader(Path("nowhere"), MemoryView(rows)).tree_nodes("shop")

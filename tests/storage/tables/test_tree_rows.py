from __future__ import annotations

from typing import Any

import msgpack
import pytest

from understudy.actors.ids import new_id
from understudy.storage.tables.tree_rows import NodeRow, all_nodes, node_key, nodes_below, path_in

SPEC: dict[str, Any] = {"id": "a", "task": "jobs:f", "shutdown": None}


def test_a_row_comes_back_as_it_was():
    row = NodeRow(
        3,
        SPEC,
        new_id(),
        "restart",
        alive=True,
        restarts=2,
        exit=("normal", "returned", 1.5),
        window=(1.0, 2.0),
    )
    assert NodeRow.unpack(row.pack()) == row
    assert not row.is_tree
    assert NodeRow(0, {"id": "shop", "strategy": "one_for_all"}).is_tree


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        msgpack.packb(7),
        msgpack.packb([]),
        msgpack.packb(["0", SPEC]),
        msgpack.packb([0, "spec"]),
        msgpack.packb([0, {}]),
        msgpack.packb([0, {"id": 7}]),
        msgpack.packb([0, SPEC, b"short"]),
        msgpack.packb([0, SPEC, None, 7]),
    ],
)
def test_what_is_no_node(packed: bytes):
    with pytest.raises(ValueError, match="not a node of a tree"):
        NodeRow.unpack(packed)


def test_a_tree_stands_before_what_is_in_it():
    paths = ["shop", "shop-2", "shop/a", "shop/a/b", "shop/a.b", "zoo"]
    keys = sorted(map(node_key, paths))
    assert [path_in(key) for key in keys if keys.index(key) > keys.index(node_key("shop/a"))][:1] == [
        "shop/a.b"
    ]
    for path in paths:
        parent = path.rpartition("/")[0]
        if parent:
            assert keys.index(node_key(parent)) < keys.index(node_key(path))
    start, stop = nodes_below("shop")
    assert {path_in(key) for key in keys if start <= key < stop} == {"shop/a", "shop/a/b", "shop/a.b"}
    start, stop = all_nodes()
    assert all(start <= key < stop for key in keys)

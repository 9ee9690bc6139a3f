"""What the check says of supervision trees whose rows do not agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from understudy.actors.ids import new_id
from understudy.actors.state import State
from understudy.storage.check_trees import TreeCheck
from understudy.storage.memory_store import MemoryRows, MemoryView
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from understudy.storage.tables.tree_rows import MARKS, NodeRow, node_key
from understudy.supervisor.execution.tree_nodes import Mark

TASK = new_id()
TREE: dict[str, Any] = {"id": "shop", "strategy": "one_for_one"}
CHILD: dict[str, Any] = {"id": "a", "task": "jobs:f"}


def record(path: str | None = "shop/a", *, ended: bool = False) -> Record:
    found = Record(TASK, "jobs:f", 5.0, TASK)
    if path is not None:
        found.tree = path
    if ended:
        found.state, found.ended = State.COMPLETED, 6.0
    return found


def check(
    rows: dict[str, NodeRow], found: Record | None, look: Callable[[TreeCheck], list[str]] | None = None
) -> list[str]:
    stored = MemoryRows()
    for path, row in rows.items():
        stored._set(Table.ACTORS, node_key(path), row.pack())
    with MemoryView(stored).read() as snapshot:
        trees = TreeCheck(snapshot, lambda id: found if id == TASK else None)
        if look is not None:
            return look(trees)
        return [line for key, row in snapshot.rows(Table.ACTORS) for line in trees.problems(key, row)]


def sound(**changes: Any) -> dict[str, NodeRow]:
    leaf = NodeRow(0, CHILD, task=TASK, alive=True, up=True)._replace(**changes)
    return {"shop": NodeRow(0, TREE, alive=True, up=True), "shop/a": leaf}


def test_a_sound_one():
    assert check(sound(), record()) == []
    assert check(sound(task=None, alive=False, up=False), None) == []


@pytest.mark.parametrize(
    ("changes", "found", "problem"),
    [
        ({"task": None}, None, "runs and has no task"),
        ({}, None, "which has ended"),
        ({}, record(ended=True), "which has ended"),
        ({}, record("shop/b"), "which is child shop/b"),
        ({}, record(None), "which is child None"),
    ],
    ids=["none", "missing", "ended", "another", "no child"],
)
def test_a_child_without_its_task(changes: dict[str, Any], found: Record | None, problem: str):
    (line,) = check(sound(**changes), found)
    assert "child shop/a" in line
    assert problem in line


def test_a_child_without_its_tree():
    rows = sound()
    del rows["shop"]
    (line,) = check(rows, record())
    assert line == "child shop/a is in the supervision tree shop, which does not exist"


def test_damaged_rows():
    stored = MemoryRows()
    stored._set(Table.ACTORS, node_key("shop"), b"\x01")
    with MemoryView(stored).read() as snapshot:
        (line,) = TreeCheck(snapshot, lambda _: None).problems(node_key("shop"), b"\x01")
    assert "is damaged" in line


def test_a_child_in_a_tree_that_does_not_run():
    rows = sound()
    rows["shop"] = rows["shop"]._replace(alive=False, up=False)
    (line,) = check(rows, record())
    assert (
        line == "child shop/a runs in the supervision tree shop, which does not run, so nothing would stop it"
    )


def test_a_child_that_is_down_and_runs():
    (line,) = check(sound(alive=False, up=False), record())
    assert line == f"child shop/a is down, and its task {TASK.hex()} is queued"
    held, actor = record(), record()
    held.held, actor.actor = True, "shop/a"
    for fine in (held, actor):
        assert check(sound(alive=False, up=False), fine) == []


def test_an_unknown_mark():
    assert set(Mark) == MARKS
    (line,) = check(sound(mark="sell"), record())
    assert line == "child shop/a has the mark 'sell', which this release does not know"


def test_a_task_that_waits_for_its_tree():
    for path in ("shop/b", None):
        found = record(path)
        found.held = True
        (line,) = check(sound(), found, lambda trees, found=found: list(trees.child(found)))
        assert "would never run" in line


def test_a_task_that_no_tree_knows():
    assert check(sound(), record(), lambda trees: list(trees.child(record()))) == []
    found = record("shop/b")
    (line,) = check(sound(), found, lambda trees: list(trees.child(found)))
    assert line == f"task {TASK.hex()} is child shop/b of a supervision tree that does not know it"
    found.cancel = True
    assert check(sound(), found, lambda trees: list(trees.child(found))) == [], "it is about to stop"

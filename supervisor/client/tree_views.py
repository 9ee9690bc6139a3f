"""What is on disk of supervision trees, as `TreeStatus` and `ChildStatus`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, cast

from ...actors.ids import id_text
from ...actors.trees.status import ChildState, ChildStatus, LastExit, TreeState, TreeStatus
from ...storage.tables.tree_rows import NodeRow
from ...storage.tree_reader import StoredNode

ExitKind = Literal["normal", "abnormal", "shutdown"]


def statuses(nodes: Iterable[StoredNode]) -> list[TreeStatus | ChildStatus]:
    """The outermost of these nodes, each with what is below it."""
    below: dict[str, list[StoredNode]] = {}
    outer: list[StoredNode] = []
    seen: set[str] = set()
    for node in nodes:
        parent = node.path.rpartition("/")[0]
        (below.setdefault(parent, []) if parent in seen else outer).append(node)
        seen.add(node.path)
    return [_top(node, below) if "/" not in node.path else _child(node, below) for node in outer]


def tree_state(row: NodeRow) -> TreeState:
    """The state of a top tree."""
    return cast("TreeState", _state(row, completed="stopped"))


def _top(node: StoredNode, below: dict[str, list[StoredNode]]) -> TreeStatus:
    state = tree_state(node.row)
    children = _children(node.path, below)
    return TreeStatus(node.path, state, _restarts(node.row, children), _exit(node.row), children)


def _child(node: StoredNode, below: dict[str, list[StoredNode]]) -> ChildStatus:
    row, record = node.row, node.record
    children = _children(node.path, below)
    spec: dict[str, Any] = row.spec
    return ChildStatus(
        spec["id"],
        node.path,
        None if row.is_tree else spec["task"],
        None if row.task is None else id_text(row.task),
        cast("ChildState", _state(row, completed="completed")),
        None if record is None else record.pid,
        _restarts(row, children),
        _exit(row),
        children,
    )


def _children(path: str, below: dict[str, list[StoredNode]]) -> tuple[ChildStatus, ...]:
    there = sorted(below.get(path, ()), key=lambda node: node.row.place)
    return tuple(_child(node, below) for node in there)


def _restarts(row: NodeRow, children: tuple[ChildStatus, ...]) -> int:
    """Its own restarts, and those of all below it."""
    return row.restarts + sum(child.restarts for child in children)


def _exit(row: NodeRow) -> LastExit | None:
    return None if row.exit is None else LastExit(cast("ExitKind", row.exit[0]), *row.exit[1:])


def _state(row: NodeRow, *, completed: str) -> str:
    if row.mark in ("restart", "replace") and row.exit is not None:
        return "restarting"
    if row.alive:
        if row.mark or row.ending:
            return "stopping"
        return "running" if row.up else "starting"
    if row.mark in ("restart", "replace"):
        return "starting"
    if row.is_tree:
        return "failed" if row.ending == "failed" else completed if row.ending == "completed" else "stopped"
    if row.exit is None or row.exit[0] == "shutdown":
        return "stopped"
    return "failed" if row.exit[0] == "abnormal" else "completed"

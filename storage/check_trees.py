"""TreeCheck: the part of the check of a store that looks at supervision trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables.record import Record
from .tables.schema import Table
from .tables.tree_rows import MARKS, NodeRow, node_key, path_in


class TreeCheck:
    """The rules of the rows of trees, in one snapshot."""

    def __init__(self, snapshot: Snapshot, record: Callable[[bytes], Record | None]) -> None:
        self._snapshot = snapshot
        self._record = record

    def problems(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with the row of a node."""
        try:
            path, node = path_in(key), NodeRow.unpack(row)
        except ValueError as error:
            yield f"row {key.hex()} of actors is damaged: {error}"
            return
        if node.mark not in MARKS:
            yield f"child {path} has the mark {node.mark!r:.80}, which this release does not know"
        parent = path.rpartition("/")[0]
        above = self._node(parent) if parent else None
        if parent and (above is None or not above.is_tree):
            yield f"child {path} is in the supervision tree {parent}, which does not exist"
        elif above is not None and node.alive and not above.alive:
            yield f"child {path} runs in the supervision tree {parent}, which does not run, so nothing would stop it"
        if node.is_tree:
            return
        record = None if node.task is None else self._record(node.task)
        if node.alive and node.task is None:
            yield f"child {path} runs and has no task"
        elif node.task is not None and (record is None or record.terminal):
            yield f"child {path} has the task {node.task.hex()}, which has ended"
        elif record is not None and record.tree != path:
            yield f"child {path} has the task {record.id.hex()}, which is child {record.tree}"
        elif record is not None and not node.alive and not record.held and record.actor is None:
            yield f"child {path} is down, and its task {record.id.hex()} is {record.state}"

    def child(self, record: Record) -> Iterator[str]:
        """What is wrong with a child of a tree that has not ended, or with a task that waits for its tree."""
        node = None if record.tree is None else self._node(record.tree)
        if node is not None and node.task == record.id:
            return
        if record.held:
            yield f"task {record.id.hex()} waits for a supervision tree that does not know it, and would never run"
        elif not record.cancel:
            # One that is told to stop may do so after its place was taken by another child.
            yield f"task {record.id.hex()} is child {record.tree} of a supervision tree that does not know it"

    def _node(self, path: str) -> NodeRow | None:
        packed = self._snapshot.get(Table.ACTORS, node_key(path))
        try:
            return None if packed is None else NodeRow.unpack(packed)
        except ValueError:
            return None

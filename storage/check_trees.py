"""TreeCheck: the part of the check of a store that looks at supervision trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables.record import Record
from .tables.schema import Table
from .tables.tree_rows import NodeRow, node_key, path_in


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
        parent = path.rpartition("/")[0]
        if parent and ((above := self._node(parent)) is None or not above.is_tree):
            yield f"child {path} is in the supervision tree {parent}, which does not exist"
        if node.is_tree:
            return
        record = None if node.task is None else self._record(node.task)
        if node.alive and node.task is None:
            yield f"child {path} runs and has no task"
        elif node.task is not None and (record is None or record.terminal):
            yield f"child {path} has the task {node.task.hex()}, which has ended"
        elif record is not None and record.tree != path:
            yield f"child {path} has the task {record.id.hex()}, which is child {record.tree}"

    def held(self, record: Record) -> Iterator[str]:
        """What is wrong with a task that waits for its supervision tree."""
        node = None if record.tree is None else self._node(record.tree)
        if node is None or node.task != record.id:
            yield f"task {record.id.hex()} waits for a supervision tree that does not know it, and would never run"

    def _node(self, path: str) -> NodeRow | None:
        packed = self._snapshot.get(Table.ACTORS, node_key(path))
        try:
            return None if packed is None else NodeRow.unpack(packed)
        except ValueError:
            return None

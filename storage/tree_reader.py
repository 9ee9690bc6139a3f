"""TreeReader: the part of `Reader` that reads supervision trees."""

from __future__ import annotations

from typing import NamedTuple

from ..actors.errors import StoreCorrupt
from .snapshot_reader import SnapshotReader
from .tables.record import Record
from .tables.schema import Table
from .tables.tree_rows import NodeRow, all_nodes, node_key, nodes_below, path_in


class StoredNode(NamedTuple):
    """A node with the record of its task."""

    path: str
    row: NodeRow
    record: Record | None


class TreeReader(SnapshotReader):
    """Reads supervision trees."""

    def tree_node(self, path: str) -> NodeRow | None:
        """The tree or child with this path alone; None if there is none. StoreCorrupt."""
        with self._read() as snapshot:
            packed = snapshot.get(Table.ACTORS, node_key(path))
            try:
                return None if packed is None else NodeRow.unpack(packed)
            except ValueError as error:
                raise _damaged(path, error) from error

    def tree_nodes(self, path: str | None = None) -> list[StoredNode]:
        """The tree or child with this path and all below it, each tree before what is in it; all trees for None."""
        with self._read() as snapshot:
            if path is None:
                rows = list(snapshot.rows(Table.ACTORS, *all_nodes()))
            else:
                itself = snapshot.get(Table.ACTORS, node_key(path))
                rows = [] if itself is None else [(node_key(path), itself)]
                rows += snapshot.rows(Table.ACTORS, *nodes_below(path))
            found = []
            for key, packed in rows:
                try:
                    row = NodeRow.unpack(packed)
                    stored = None if row.task is None else snapshot.get(Table.TASKS, row.task)
                    record = None if stored is None or row.task is None else Record.unpack(row.task, stored)
                except ValueError as error:
                    raise _damaged(path_in(key), error) from error
                found.append(StoredNode(path_in(key), row, record))
            return found


def _damaged(path: str, error: ValueError) -> StoreCorrupt:
    return StoreCorrupt(f"supervision tree {path} is damaged; run `understudy check`", problems=[str(error)])

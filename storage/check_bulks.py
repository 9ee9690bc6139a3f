"""BulkCheck: the part of the check of a store that looks at cancels and retries of many tasks."""

from __future__ import annotations

from collections.abc import Iterator

from .shared_view import Snapshot
from .tables import bulk_rows
from .tables.bulk_rows import PART, Bulk
from .tables.schema import Table


class BulkCheck:
    """The rules of these rows."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def problems(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with a row of a bulk."""
        try:
            yield from self._found(key, row)
        except ValueError as error:
            yield f"row {key.hex()} of meta: {error}"

    def _found(self, key: bytes, row: bytes) -> Iterator[str]:
        if bulk_rows.is_head(key):
            yield from self._head(bulk_rows.unpack_head(key, row))
            return
        if bulk_rows.is_tasks(key):
            bulk_rows.unpack_tasks(row)
        else:
            bulk_rows.unpack_ends(row)
        bulk_rows.part_in(key)
        id = bulk_rows.id_in(key)
        if self._snapshot.get(Table.META, bulk_rows.head_key(id)) is None:
            yield f"row {key.hex()} of meta is of bulk {id.hex()}, which is not there: nothing removes it"

    def _head(self, bulk: Bulk) -> Iterator[str]:
        if bulk.ended is not None:
            # Its parts may have been removed before it.
            return
        tasks = ends = 0
        for part in range(-(-bulk.total // PART)):
            row = self._snapshot.get(Table.META, bulk_rows.tasks_key(bulk.id, part))
            became = self._snapshot.get(Table.META, bulk_rows.ends_key(bulk.id, part))
            tasks += 0 if row is None else len(bulk_rows.unpack_tasks(row))
            ends += 0 if became is None else len(bulk_rows.unpack_ends(became))
        if (tasks, ends) != (bulk.total, bulk.done):
            yield (
                f"bulk {bulk.id.hex()} has {bulk.total} tasks, and has dealt with {bulk.done}; its rows have {tasks}, "
                f"and {ends} outcomes"
            )

"""UniqueCheck: the part of the check of a store that looks at the texts of unique tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables.record import Record
from .tables.schema import Table
from .tables.unique_rows import UniqueRow, is_row, is_until, own_key


class UniqueCheck:
    """The rules of the rows of texts, in one snapshot."""

    def __init__(self, snapshot: Snapshot, record: Callable[[bytes], Record | None]) -> None:
        self._snapshot = snapshot
        self._record = record

    def problems(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with this row; ValueError for a damaged one."""
        if is_until(key):
            yield from self._until(key)
        elif is_row(key):
            yield from self._row(key, UniqueRow.unpack(row))
        else:
            yield f"row {key.hex()} of actors is malformed"

    def _row(self, key: bytes, row: UniqueRow) -> Iterator[str]:
        own, *until = row.keys
        if own != key:
            yield f"row {key.hex()} of actors is that of another unique text, {row.text!r:.80}"
            return
        record = self._record(row.id)
        if record is not None and record.unique != row.text:
            yield f"the unique text {row.text!r:.80} leads to task {row.id.hex()}, whose text is {record.unique!r:.80}"
        has_ended = record is None or record.terminal
        if row.until is None:
            if has_ended:
                yield f"the unique text {row.text!r:.80} leads to task {row.id.hex()}, which has ended"
            before = None if row.behind is None else self._record(row.behind)
            if row.behind is not None and (before is None or before.terminal):
                yield f"task {row.id.hex()} waits for task {row.behind.hex()}, which has ended, and would never begin"
        elif has_ended and self._snapshot.get(Table.ACTORS, until[0]) is None:
            yield f"the unique text {row.text!r:.80} has no row by its time, so it would be kept for ever"

    def _until(self, key: bytes) -> Iterator[str]:
        packed = self._snapshot.get(Table.ACTORS, own_key(key))
        if packed is None:
            yield f"row {key.hex()} of actors leads to a unique text that does not exist"
        elif key not in UniqueRow.unpack(packed).keys:
            yield f"row {key.hex()} of actors does not have the time of its unique text"

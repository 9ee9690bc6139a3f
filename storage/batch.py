"""Batch: the changed rows that go to disk in one commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from ..actors.errors import InvalidOption
from .tables.schema import MAX_KEY_BYTES, Table


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Stands for the value of a key that a batch does not change (None means deleted)."""


class Batch:
    """Puts and deletes for any tables, applied in one transaction, and callbacks for afterwards.

    The last change of a key wins. A row that is put and then deleted in one batch becomes a delete, which is
    harmless if the key was never on disk.
    """

    __slots__ = ("acks", "number", "rows", "size")

    def __init__(self, number: int = 1) -> None:
        #: Counts the batches of one store, in the order in which they go to disk.
        self.number = number
        #: Changed rows, by table and key; None deletes.
        self.rows: dict[Table, dict[bytes, bytes | None]] = {table: {} for table in Table}
        #: Callbacks that the loop's thread runs in order when the rows are on disk.
        self.acks: list[Callable[[], None]] = []
        #: Bytes of all keys and values.
        self.size = 0

    def put(self, table: Table, key: bytes, value: bytes | None) -> None:
        """Write this row, or delete it for None; replaces an earlier change of its key in the batch."""
        rows = self.rows[table]
        size = 0 if value is None else len(value)
        old = rows.get(key, MISSING)
        if old is MISSING:
            if not 0 < len(key) <= MAX_KEY_BYTES:
                # Refused here, where the caller is known. In the writer it would fail the whole batch.
                raise InvalidOption(f"a key of {table} must have 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
            self.size += len(key) + size
        else:
            self.size += size - (len(old) if old else 0)
        rows[key] = value

    def merge(self, table: Table, rows: dict[bytes, bytes | None], size: int) -> None:
        """Add many rows at once; None deletes. `size` is the bytes of their keys and values together.

        The caller guarantees the keys' lengths. A row that was in the batch is counted twice, which is
        harmless.
        """
        self.rows[table].update(rows)
        self.size += size

    def delete(self, table: Table, key: bytes) -> None:
        """Delete this row, if it exists."""
        self.put(table, key, None)

    def remove(self, table: Table, keys: Sequence[bytes]) -> None:
        """Delete rows that were put only once, in this batch or an earlier one.

        A put in this batch is removed without a trace. The caller guarantees the keys. The size of removed
        rows still counts, which is harmless.
        """
        rows = self.rows[table]
        for key in keys:
            if rows.pop(key, None) is None:
                rows[key] = None
        self.size += sum(map(len, keys))

    @property
    def empty(self) -> bool:
        """Whether there are no rows to write and no callbacks to run."""
        return not self.acks and not any(self.rows.values())

    def __len__(self) -> int:
        """How many rows the batch writes or deletes."""
        return sum(map(len, self.rows.values()))

    def __bool__(self) -> bool:
        # Without this, a batch with only acks would be false, because its length is 0.
        return not self.empty

"""The rows that go to disk together: whatever became dirty while the commit before was under way."""

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
"""What `Batch.get` returns for a key that the batch says nothing about (None says: deleted)."""


class Batch:
    """Puts and deletes for any tables, applied in one transaction, and whom to tell afterwards.

    The last word about a key wins: a row that is put and deleted within one batch is only a delete, which is
    harmless if the key was never on disk.
    """

    __slots__ = ("acks", "rows", "size")

    def __init__(self) -> None:
        #: What changes, by table and key; None deletes.
        self.rows: dict[Table, dict[bytes, bytes | None]] = {table: {} for table in Table}
        #: Run by the loop's thread, in order, once the rows are on disk.
        self.acks: list[Callable[[], None]] = []
        #: Bytes of the keys and values held.
        self.size = 0

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write this row; replaces what the batch said of the key before."""
        rows = self.rows[table]
        old = rows.get(key, MISSING)
        if old is MISSING:
            if not 0 < len(key) <= MAX_KEY_BYTES:
                # Refused here, where the caller is known: in the writer it would take the whole batch down.
                raise InvalidOption(f"a key of {table} must have 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
            self.size += len(key) + len(value)
        else:
            self.size += len(value) - (len(old) if old else 0)
        rows[key] = value

    def merge(self, table: Table, rows: dict[bytes, bytes | None], size: int) -> None:
        """Take over many rows at once, None for a delete. `size` is what their keys and values take together.

        The caller vouches for the keys' lengths. A row that the batch had is counted twice, which does no harm.
        """
        self.rows[table].update(rows)
        self.size += size

    def delete(self, table: Table, key: bytes) -> None:
        """Delete this row, if it is there."""
        rows = self.rows[table]
        old = rows.get(key, MISSING)
        if old is MISSING:
            if not 0 < len(key) <= MAX_KEY_BYTES:
                raise InvalidOption(f"a key of {table} must have 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
            self.size += len(key)
        elif old:
            self.size -= len(old)
        rows[key] = None

    def remove(self, table: Table, keys: Sequence[bytes]) -> None:
        """Delete rows that were put once, a batch ago or in this one: what this one would put is forgotten, as if it
        had never been. The caller vouches for the keys; the size of what is forgotten goes on counting, which does no
        harm."""
        rows = self.rows[table]
        for key in keys:
            if rows.pop(key, None) is None:
                rows[key] = None
        self.size += sum(map(len, keys))

    def get(self, table: Table, key: bytes) -> bytes | Missing | None:
        """The value, None if the batch deletes the key, MISSING if it does not touch it."""
        return self.rows[table].get(key, MISSING)

    @property
    def empty(self) -> bool:
        """Nothing to write and nobody to tell."""
        return not self.acks and not any(self.rows.values())

    def __len__(self) -> int:
        """How many rows it writes or deletes."""
        return sum(map(len, self.rows.values()))

    def __bool__(self) -> bool:
        # Without this, a batch that holds only acks would be false by its length.
        return not self.empty

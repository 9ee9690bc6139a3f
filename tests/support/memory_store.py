"""The store's interface without a disk, for tests of code that uses a store."""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from pathlib import Path

from understudy.actors.errors import StoreError, StoreFull, UnderstudyError
from understudy.storage.batch import MISSING, Batch
from understudy.storage.environment import MAP_SIZE, Durability
from understudy.storage.tables.schema import HOME_ROW, ID_BYTES, SCHEMA_ROW, SCHEMA_VERSION, Table


class MemoryStore:
    """`Store` in memory: `seal` commits at once and calls `on_commit` before it returns.

    Everything else is the same: the batch is in flight until `committed`, and reads see it meanwhile.
    """

    def __init__(self, on_commit: Callable[[Batch], None]) -> None:
        self._on_commit = on_commit
        self._rows: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._keys: dict[Table, list[bytes]] = {table: [] for table in Table}
        self._in_flight: Batch | None = None
        self._closed = False
        #: The open batch: what `put`, `delete` and `after_commit` go into.
        self.batch = Batch()
        #: Whether new work is refused. Never set here; a test may set it.
        self.full = False
        #: 16 random bytes made with the store.
        self.home_id = os.urandom(ID_BYTES)
        self._set(Table.META, SCHEMA_ROW, b"%d" % SCHEMA_VERSION)
        self._set(Table.META, HOME_ROW, self.home_id)

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        map_size: int = MAP_SIZE,
        durability: Durability = "disk",
        on_commit: Callable[[Batch], None],
        on_trouble: Callable[[StoreFull], None],
        on_recovered: Callable[[], None],
        on_fatal: Callable[[StoreError], None],
    ) -> MemoryStore:
        """A new, empty store. Takes the arguments of `Store.open`, but uses only `on_commit`."""
        return cls(on_commit)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row in the open batch."""
        self.batch.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> None:
        """Delete a row, if it exists, in the open batch."""
        self.batch.delete(table, key)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Let the loop run this when the open batch is committed."""
        self.batch.acks.append(callback)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row's value, including the open batch."""
        value = self.batch.rows[table].get(key, MISSING)
        return self._rows[table].get(key) if value is MISSING else value

    def get_many(self, table: Table, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of `get` for these keys, without keys that have no row."""
        return {key: value for key in keys if (value := self.get(table, key)) is not None}

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """Committed rows with start <= key < stop, in key order; with `reverse` from the last one down."""
        keys = self._keys[table]
        found = keys[bisect_left(keys, start) : len(keys) if stop is None else bisect_left(keys, stop)]
        if reverse:
            found.reverse()
        rows = self._rows[table]
        return [(key, rows[key]) for key in found[:limit]]

    def look(
        self, table: Table, start: bytes, stop: bytes, *, limit: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        """As `scan`, including the open batch."""
        changes = self.batch.rows[table]
        keys = {key for key in {*self._keys[table], *changes} if start <= key < stop}
        rows = [
            (key, row) for key in sorted(keys, reverse=reverse) if (row := self.get(table, key)) is not None
        ]
        return rows[:limit]

    def count(self, table: Table) -> int:
        """How many committed rows the table has."""
        return len(self._keys[table])

    def pending_puts(self, table: Table) -> list[bytes]:
        """Keys of rows that `get` sees and `scan` may not see yet."""
        return [key for key, value in self.batch.rows[table].items() if value is not None]

    def seal(self) -> bool:
        """Commit the open batch if it has rows and none is in flight; returns whether it did."""
        batch = self.commit()
        if batch is None:
            return False
        self._on_commit(batch)
        return True

    def commit(self) -> Batch | None:
        """Commit the open batch and return it, to be `committed`; None if it is empty or one is in flight."""
        if self._in_flight is not None or self.batch.empty:
            return None
        if self._closed:
            raise StoreError("the store was closed; open it again")
        batch = self._in_flight = self.batch
        self.batch = Batch()
        self._apply(batch)
        return batch

    def committed(self, batch: Batch) -> None:
        """The loop has learned that this batch is committed."""
        if batch is not self._in_flight:
            raise ValueError("this batch is not the one being written")
        self._in_flight = None

    @property
    def busy(self) -> bool:
        """Whether a batch is in flight: `committed` was not called for it yet."""
        return self._in_flight is not None

    @property
    def pending_bytes(self) -> int:
        """Bytes of rows in the batches that are open or in flight."""
        return self.batch.size + (self._in_flight.size if self._in_flight is not None else 0)

    def compact(self, done: Callable[[UnderstudyError | None], None]) -> None:
        """Does nothing."""
        done(None)

    def close(self, timeout: float) -> StoreError | None:
        """Commit the rest. May be called twice."""
        if not self._closed and not self.batch.empty:
            batch, self.batch = self.batch, Batch()
            self._apply(batch)
            self._on_commit(batch)
        self._closed = True
        return None

    def _apply(self, batch: Batch) -> None:
        for table, rows in batch.rows.items():
            for key, value in rows.items():
                if value is not None:
                    self._set(table, key, value)
                elif self._rows[table].pop(key, None) is not None:
                    del self._keys[table][bisect_left(self._keys[table], key)]

    def _set(self, table: Table, key: bytes, value: bytes) -> None:
        if key not in self._rows[table]:
            insort(self._keys[table], key)
        self._rows[table][key] = value

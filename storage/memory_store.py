"""MemoryStore: a store without a disk, for tests of code that uses a store, and of programs.

It is `Store` on an environment and a writer that keep rows in memory. A batch is committed when it is sealed. What is
in the open batch is lost if the store is dropped without `close`, as in a crash: `MemoryRows` outlive it.
"""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ..actors.errors import StoreError, StoreFull
from .batch import Batch
from .shared_view import Snapshot
from .store import Store
from .tables.rows import taken
from .tables.schema import HOME_ROW, ID_BYTES, SCHEMA_ROW, SCHEMA_VERSION, Table
from .writer import Job

#: Bytes that the memory is taken to have.
ROOM: Final = 1 << 60


class MemoryRows:
    """Committed rows. A new store may go on with those of an earlier one."""

    def __init__(self) -> None:
        self._rows: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._keys: dict[Table, list[bytes]] = {table: [] for table in Table}
        #: Commits so far.
        self.commits = 0
        #: 16 random bytes, which identify the store.
        self.home_id = os.urandom(ID_BYTES)
        self._set(Table.META, SCHEMA_ROW, b"%d" % SCHEMA_VERSION)
        self._set(Table.META, HOME_ROW, self.home_id)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row's value."""
        return self._rows[table].get(key)

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        most_bytes: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, in key order; see `Environment.scan`."""
        keys = self._keys[table]
        found = keys[bisect_left(keys, start) : len(keys) if stop is None else bisect_left(keys, stop)]
        if reverse:
            found.reverse()
        rows = self._rows[table]
        return taken(((key, rows[key]) for key in found[:limit]), most_bytes)

    def count(self, table: Table) -> int:
        """How many rows the table has."""
        return len(self._keys[table])

    def apply(self, batch: Batch) -> None:
        """Commit a batch."""
        self.commits += 1
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


class MemoryStore(Store):
    """`Store` in memory. `on_commit` is called before `seal` returns."""

    @classmethod
    def open(
        cls, home: Path, *, on_commit: Callable[[Batch], None], rows: MemoryRows | None = None, **_: Any
    ) -> MemoryStore:
        """A store with these rows, or an empty one. The other arguments are those of `Store.open`."""
        environment = _Environment(home, MemoryRows() if rows is None else rows)
        return cls(environment, _Writer(environment.rows, on_commit))


class _Environment:
    """See `Environment`."""

    swapping = False

    def __init__(self, home: Path, rows: MemoryRows) -> None:
        self.home = home
        self.rows = rows
        self.home_id = rows.home_id
        self.scan = rows.scan
        self.count = rows.count
        self.get = rows.get

    def get_many(self, table: Table, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """See `Environment`."""
        return {key: value for key in keys if (value := self.get(table, key)) is not None}

    def room(self) -> tuple[int, int]:
        """See `Environment`."""
        return ROOM, 0

    def free_bytes(self) -> int:
        """See `Environment`."""
        return 0

    def refresh(self) -> None:
        """See `Environment`."""

    def compact(self) -> None:
        """See `Environment`."""

    def close(self) -> None:
        """See `Environment`."""


class _Writer:
    """See `Writer`."""

    full = False
    failure: StoreError | None = None

    def __init__(self, rows: MemoryRows, on_commit: Callable[[Batch], None]) -> None:
        self._rows = rows
        self._on_commit = on_commit
        self.stopped = False

    def submit(self, item: Batch | Job) -> None:
        """See `Writer`."""
        if self.stopped:
            raise StoreError("the store was closed; open it again")
        if not isinstance(item, Batch):
            item()
            return
        self._rows.apply(item)
        self._on_commit(item)

    def commit(self, batch: Batch) -> bool:
        """See `Writer`."""
        if self.stopped:
            return False
        self._rows.apply(batch)
        return True

    def close(self, timeout: float) -> StoreFull | None:
        """See `Writer`."""
        self.stopped = True
        return None


class MemoryView:
    """What a `Reader` reads of rows in memory."""

    is_open = True

    def __init__(self, rows: MemoryRows, before_read: Callable[[], None] = lambda: None) -> None:
        """`before_read` is called before each read."""
        self._rows = rows
        self._snapshot = _Snapshot(rows)
        self._before_read = before_read

    def newest(self) -> int:
        """See `SharedView`."""
        return self._rows.commits

    @contextmanager
    def read(self) -> Iterator[Snapshot]:
        """See `SharedView`."""
        self._before_read()
        yield self._snapshot


class _Snapshot(Snapshot):
    __slots__ = ("_rows",)

    def __init__(self, rows: MemoryRows) -> None:
        super().__init__()
        self._rows = rows

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self._rows.get(table, key)

    def rows(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        yield from self._rows.scan(table, start, stop, None, reverse)

    def last_key(self, table: Table, start: bytes, stop: bytes | None) -> bytes | None:
        return next((key for key, _ in self._rows.scan(table, start, stop, 1, True)), None)

    def count(self, table: Table) -> int:
        return self._rows.count(table)

"""Store: the store in the supervisor's process. Changes go into an open batch, and reads see them at once.

One batch is open, and at most one is on its way to disk. `seal` sends the open batch to the writer if no
other is on its way. So a batch holds all changes made during the commit before it: this is the group commit.
`commit` writes the open batch in the calling thread and waits.

Only one thread, the loop's, uses a Store. The callbacks given to `open` run in the writer's thread.
`on_commit` must have the loop call `committed(batch)` and then run `batch.acks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from ..actors.errors import StoreError, StoreFull, UnderstudyError
from .batch import MISSING, Batch
from .environment import MAP_SIZE, Durability, Environment
from .tables.rows import taken
from .tables.schema import Table
from .writer import Job, Writer

RESERVE_CHECK: Final = 0.05
"""Seconds for which a measurement of the file system's free space is valid."""

PLENTY: Final = 64 << 20
"""Bytes of room above which the number of tasks about to end does not matter."""

PAGES_FOR_ROWS: Final = 2
"""The most bytes of the file that one byte of a row may take."""


class Rows(Protocol):
    """Committed rows; see `Environment`, which has them on disk."""

    home_id: bytes

    @property
    def scan(self) -> Scan: ...
    @property
    def count(self) -> Callable[[Table], int]: ...
    @property
    def swapping(self) -> bool: ...
    def get(self, table: Table, key: bytes, /) -> bytes | None: ...
    def get_many(self, table: Table, keys: list[bytes], /) -> dict[bytes, bytes]: ...
    def room(self) -> tuple[int, int]: ...
    def free_bytes(self) -> int: ...
    def refresh(self) -> None: ...
    def compact(self) -> None: ...
    def close(self) -> None: ...


class BatchWriter(Protocol):
    """Commits batches; see `Writer`."""

    @property
    def full(self) -> bool: ...
    @property
    def failure(self) -> StoreError | None: ...
    @property
    def stopped(self) -> bool: ...
    def submit(self, item: Batch | Job, /) -> None: ...
    def commit(self, batch: Batch, /) -> bool: ...
    def close(self, timeout: float, /) -> StoreError | None: ...


class Scan(Protocol):
    """Reads a range of committed rows."""

    def __call__(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
        most_bytes: int | None = None,
    ) -> list[tuple[bytes, bytes]]: ...


class Store:
    """Durable tables with group commit. Make one with `Store.open`."""

    def __init__(self, environment: Rows, writer: BatchWriter) -> None:
        self._environment = environment
        #: 16 random bytes made with the store.
        self.home_id = environment.home_id
        #: Read committed rows only. A batch's rows appear when `committed` is called for it, or slightly earlier.
        self.scan = environment.scan
        self.count = environment.count
        self._writer = writer
        #: The open batch, which `put`, `delete` and `after_commit` change.
        self.batch = Batch()
        self._in_flight: Batch | None = None
        #: Number of the last batch that is on disk.
        self._on_disk = 0
        #: The last measurement of the file system: room for new work, time, and the bytes of rows until then.
        self._room = self._reserve = 0
        self._room_asked = 0.0
        self._bytes_then = 0
        #: Bytes of all batches sent to disk so far.
        self._bytes_sealed = 0
        self._closed = False

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
    ) -> Store:
        """Open the store of `home`, or make one.

        The caller holds the home's lock, because a store has one writer.

        Raises StoreForeign, StoreVersion, StoreCorrupt or HomeError before any change.
        """
        environment = Environment(Path(home), map_size, durability)
        writer = Writer(
            environment,
            on_commit=on_commit,
            on_trouble=on_trouble,
            on_recovered=on_recovered,
            on_fatal=on_fatal,
        )
        return cls(environment, writer)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row with the open batch."""
        self.batch.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> None:
        """Delete a row with the open batch, if it exists."""
        self.batch.delete(table, key)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Have the loop run this when the open batch is on disk."""
        self.batch.acks.append(callback)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row's value, including changes that are not on disk yet."""
        value = self.batch.rows[table].get(key, MISSING)
        if value is MISSING:
            if self._in_flight is not None:
                value = self._in_flight.rows[table].get(key, MISSING)
            if value is MISSING:
                return self._environment.get(table, key)
        return value

    def get_many(self, table: Table, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of the keys that have a row, as from `get`. Much faster than single calls."""
        wanted = set(keys)
        changed = self.batch.rows[table]
        changing = self._in_flight.rows[table] if self._in_flight is not None else {}
        pending = (wanted & changed.keys()) | (wanted & changing.keys())
        found = {
            key: value
            for key in pending
            if (value := changed[key] if key in changed else changing[key]) is not None
        }
        on_disk = wanted - pending
        if on_disk:
            found.update(self._environment.get_many(table, sorted(on_disk)))
        return found

    def look(
        self,
        table: Table,
        start: bytes,
        stop: bytes,
        *,
        limit: int,
        reverse: bool = False,
        most_bytes: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """As `scan`, including changes that are not on disk yet. It looks at all of these."""
        changes = dict(self._in_flight.rows[table]) if self._in_flight is not None else {}
        changes.update(self.batch.rows[table])
        changes = {key: value for key, value in changes.items() if start <= key < stop}
        # Each changed row hides at most one on disk.
        most = limit + len(changes)
        on_disk = self.scan(table, start, stop, most, reverse, most_bytes)
        if most_bytes is not None and on_disk and sum(len(value) for _, value in on_disk) >= most_bytes:
            # Behind the last one there are rows on disk that were not read: no change is behind it, either.
            last = on_disk[-1][0]
            changes = {
                key: value for key, value in changes.items() if (key >= last if reverse else key <= last)
            }
        rows = dict(on_disk)
        rows.update((key, value) for key, value in changes.items() if value is not None)
        keys = (key for key in rows if changes.get(key, rows[key]) is not None)
        found = [(key, rows[key]) for key in sorted(keys, reverse=reverse)[:limit]]
        return taken(found, most_bytes)

    def is_pending(self, number: int) -> bool:
        """Whether the batch with this number is not on disk yet. 0 stands for none."""
        return number > self._on_disk

    def when_on_disk(self, number: int, callback: Callable[[], None]) -> None:
        """Have the loop run this when the batch with this number is on disk. It must be pending."""
        batch = self.batch
        if number != batch.number:
            assert self._in_flight is not None
            batch = self._in_flight
        batch.acks.append(callback)

    def pending(self, table: Table, key: bytes) -> bool:
        """Whether a change of this row is not on disk yet."""
        return key in self.batch.rows[table] or (
            self._in_flight is not None and key in self._in_flight.rows[table]
        )

    def pending_puts(self, table: Table) -> list[bytes]:
        """Keys of rows that `get` sees and `scan` may not see yet."""
        puts = dict(self._in_flight.rows[table]) if self._in_flight is not None else {}
        puts.update(self.batch.rows[table])
        return [key for key, value in puts.items() if value is not None]

    def seal(self) -> bool:
        """Send the open batch to disk if it is not empty and no other is on its way; True if sent."""
        if self._in_flight is not None or self.batch.empty:
            return False
        batch, self._in_flight = self.batch, self.batch  # set before the writer can report the commit
        try:
            self._writer.submit(batch)
        except StoreError:
            self._in_flight = None
            raise
        self._bytes_sealed += batch.size
        self.batch = Batch(batch.number + 1)
        return True

    def commit(self) -> Batch | None:
        """Write the open batch to disk before returning it.

        The caller then calls `committed` and runs its acks.

        Returns None if there is nothing to write, if another batch is on its way, or if the batch has gone to
        the writer as with `seal`.
        """
        if self._in_flight is not None or self.batch.empty:
            return None
        batch = self._in_flight = self.batch
        self._bytes_sealed += batch.size
        self.batch = Batch(batch.number + 1)
        if self._writer.commit(batch):
            return batch
        if self._writer.failure is None:
            self._writer.submit(batch)
        return None

    def committed(self, batch: Batch) -> None:
        """Note that this batch is on disk. From now on its rows are read from there."""
        if batch is not self._in_flight:
            raise ValueError("this batch is not the one being written")
        self._environment.refresh()
        self._in_flight = None
        self._on_disk = batch.number

    @property
    def busy(self) -> bool:
        """Whether a batch is on its way to disk."""
        return self._in_flight is not None

    @property
    def pending_bytes(self) -> int:
        """Bytes of rows that are not on disk yet."""
        return self.batch.size + (self._in_flight.size if self._in_flight is not None else 0)

    @property
    def full(self) -> bool:
        """Whether to refuse new work: the disk is full, or its rest is needed to end running tasks."""
        return self._writer.full or self._free() < 0

    @property
    def waits_for_room(self) -> bool:
        """Whether the writer is retrying a batch because the disk is full."""
        return self._writer.full

    @property
    def short(self) -> bool:
        """Whether to begin no more tasks: the remaining room is for running tasks and for pruning."""
        return self._writer.full or self._free() < -self._reserve // 2

    @property
    def scarce(self) -> bool:
        """Whether there is so little room that the number of tasks about to end at once matters."""
        return self._free() < PLENTY

    def _free(self) -> int:
        """An estimate of the bytes that new work may take."""
        now, taken = time.monotonic(), self._bytes_sealed + self.batch.size
        if now - self._room_asked >= RESERVE_CHECK:
            # Rows not on disk yet will take room, and so will rows added before the next measurement. Without
            # counting both, a fast client could use up the reserve in between.
            room, self._reserve = self._environment.room()
            self._room = room - PAGES_FOR_ROWS * self.pending_bytes
            if self._room < PLENTY:
                # Free pages of deleted rows need no more disk. Not all of them can be reused at once.
                self._room += self._environment.free_bytes() // 2
            self._room_asked, self._bytes_then = now, taken
        return self._room - PAGES_FOR_ROWS * (taken - self._bytes_then)

    def compact(self, done: Callable[[UnderstudyError | None], None]) -> None:
        """Give the space of deleted rows back to the file system, between two batches.

        Needs room for a copy meanwhile. The writer's thread calls `done` with None, or with an error, which
        leaves the store unchanged. An error during the swap is fatal as well.
        """

        def job() -> None:
            try:
                self._environment.compact()
            except UnderstudyError as error:
                done(error)
                if self._environment.swapping:
                    raise
            else:
                done(None)

        self._writer.submit(job)

    def close(self, timeout: float) -> StoreError | None:
        """Commit the remaining rows, for at most `timeout` seconds, and close the files; may be called twice.

        Returns an error that describes the lost rows; None if none were lost.
        """
        if not self._closed and self._writer.failure is None and not self.batch.empty:
            self._writer.submit(self.batch)
            self.batch = Batch(self.batch.number + 1)
        lost = self._writer.close(timeout)
        # A writer that is stuck in a write still uses the environment, so closing it would crash the process.
        if not self._closed and self._writer.stopped:
            try:
                self._environment.close()
            except StoreError as error:
                lost = lost or error
        self._closed = self._closed or self._writer.stopped
        return lost

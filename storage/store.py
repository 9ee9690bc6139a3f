"""The store as the supervisor uses it: rows are changed in an open batch, and reading sees them at once.

One batch is open, at most one is on its way to disk. `seal` sends the open one off when the way is free, so a batch
holds whatever became dirty while the commit before was under way: that is the group commit. `commit` brings it there
and waits.

Used from one thread (the loop's). The callbacks given to `open` are called from the writer's thread, which is to have
the loop call `committed(batch)` and then run `batch.acks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ..actors.errors import StoreError, StoreFull, UnderstudyError
from .batch import MISSING, Batch
from .environment import MAP_SIZE, Durability, Environment
from .file.disk import remove, room_and_reserve
from .file.names import draft_file
from .tables.schema import Table
from .writer import Writer

RESERVE_CHECK: Final = 0.05
"""Seconds for which the answer of the file system about its free space is good."""

PLENTY: Final = 64 << 20
"""Bytes of room above which nobody need be careful with it."""

PAGES_FOR_ROWS: Final = 2
"""Bytes of the file that a byte of a row may take."""


class Store:
    """Durable tables with group commit. Make one by `Store.open`."""

    def __init__(self, environment: Environment, writer: Writer) -> None:
        self._environment = environment
        self._writer = writer
        #: The open batch: what `put`, `delete` and `after_commit` go into.
        self.batch = Batch()
        self._in_flight: Batch | None = None
        #: What new work could take when the file system was last asked, when that was, and the rows' bytes till then.
        self._room = self._reserve = 0
        self._room_asked = 0.0
        self._bytes_then = 0
        #: Bytes of all the batches sent off so far.
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
        """Open the store of `home`, or make one. The caller holds the home's lock: a store has one writer.

        Raises StoreForeign, StoreVersion, StoreCorrupt or HomeError with nothing changed.
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

    @property
    def home_id(self) -> bytes:
        """16 random bytes made with the store."""
        return self._environment.home_id

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a row with the open batch."""
        self.batch.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> None:
        """Delete a row with the open batch, if it is there."""
        self.batch.delete(table, key)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Have this run by the loop once the open batch is on disk."""
        self.batch.acks.append(callback)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row's value, as changed by the batches that are not on disk yet."""
        value = self.batch.rows[table].get(key, MISSING)
        if value is MISSING:
            if self._in_flight is not None:
                value = self._in_flight.rows[table].get(key, MISSING)
            if value is MISSING:
                return self._environment.get(table, key)
        return value

    def get_many(self, table: Table, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """What `get` gives for these keys, without those that have no row. Much faster than one by one."""
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

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """Committed rows with start <= key < stop, by key; from the last one down if `reverse`.

        A batch's rows are among them when `committed` was called for it, or a little earlier.
        """
        return self._environment.scan(table, start, stop, limit, reverse)

    def count(self, table: Table) -> int:
        """How many committed rows the table has."""
        return self._environment.count(table)

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
        """Send the open batch to disk if it holds something and none is on its way; returns whether it did."""
        if self._in_flight is not None or self.batch.empty:
            return False
        batch, self._in_flight = self.batch, self.batch  # before the writer can have told of the commit
        try:
            self._writer.submit(batch)
        except StoreError:
            self._in_flight = None
            raise
        self._bytes_sealed += batch.size
        self.batch = Batch()
        return True

    def commit(self) -> Batch | None:
        """Bring the open batch to disk before this returns. The caller then does what follows a commit: `committed`,
        and the batch's acks.

        None if it was not: there is nothing, or a batch on its way, or this one has to go the way of `seal`.
        """
        if self._in_flight is not None or self.batch.empty:
            return None
        batch = self._in_flight = self.batch
        self._bytes_sealed += batch.size
        self.batch = Batch()
        if self._writer.commit(batch):
            return batch
        if self._writer.failure is None:
            self._writer.submit(batch)
        return None

    def committed(self, batch: Batch) -> None:
        """The loop has learned that this batch is on disk; from here on its rows are read from there."""
        if batch is not self._in_flight:
            raise ValueError("this batch is not the one on its way to disk")
        self._environment.refresh()
        self._in_flight = None

    @property
    def busy(self) -> bool:
        """A batch is on its way to disk."""
        return self._in_flight is not None

    @property
    def pending_bytes(self) -> int:
        """Bytes of rows that are not on disk yet."""
        return self.batch.size + (self._in_flight.size if self._in_flight is not None else 0)

    @property
    def full(self) -> bool:
        """New work should be refused: the disk is full, or what is left of it is needed to end what runs."""
        return self._writer.full or self._free() < 0

    @property
    def waits_for_room(self) -> bool:
        """A batch is being tried again because the disk is full."""
        return self._writer.full

    @property
    def short(self) -> bool:
        """No task should begin that has not: what is left is for those that run, and for pruning."""
        return self._writer.full or self._free() < -self._reserve // 2

    @property
    def scarce(self) -> bool:
        """There is not so much room that it does not matter how many tasks are about to end at once."""
        return self._free() < PLENTY

    def _free(self) -> int:
        """Bytes that new work may take, as far as is known."""
        now, taken = time.monotonic(), self._bytes_sealed + self.batch.size
        if now - self._room_asked >= RESERVE_CHECK:
            # What is not on disk yet is about to take its part, and so is what comes until the next look: a fast
            # client would be through the reserve by then.
            room, self._reserve = room_and_reserve(self._environment.home)
            self._room = room - PAGES_FOR_ROWS * self.pending_bytes
            if self._room < PLENTY:
                # Pages of rows that were deleted take no more of the disk. Not all of them may be had at once.
                self._room += self._environment.free_bytes() // 2
            self._room_asked, self._bytes_then = now, taken
        return self._room - PAGES_FOR_ROWS * (taken - self._bytes_then)

    def welcome_reader(self) -> None:
        """Somebody is about to read the files: see to it that no dead process keeps the last place for readers."""
        self._environment.forget_dead_readers()

    def compact(self, done: Callable[[UnderstudyError | None], None]) -> None:
        """Give the space of deleted rows back to the file system, between two batches.

        Needs room for a copy meanwhile. `done` is called from the writer's thread: with None, or with an error and
        the store as it was before. If the disk fails between the two, that is fatal as well.
        """

        def job() -> None:
            copy = draft_file(self._environment.home, "compact")
            try:
                self._environment.copy(copy)
                self._environment.swap(copy)
            except UnderstudyError as error:
                remove(copy)
                done(error)
                if self._environment.swapping:
                    raise
            else:
                done(None)

        self._writer.between(job)

    def close(self, timeout: float) -> StoreError | None:
        """Commit what is left, for at most `timeout` seconds, and let go of the files; may be called twice.

        Returns what was lost as an error, None if nothing was.
        """
        if not self._closed and self._writer.failure is None and not self.batch.empty:
            self._writer.submit(self.batch)
            self.batch = Batch()
        lost = self._writer.close(timeout)
        # With the writer stuck in the disk the environment is its, and closing it would crash the process.
        if not self._closed and self._writer.stopped:
            try:
                self._environment.close()
            except StoreError as error:
                lost = lost or error
        self._closed = self._closed or self._writer.stopped
        return lost

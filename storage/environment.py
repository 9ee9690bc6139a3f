"""Environment: the LMDB environment in the one process that writes a store.

Guarantees:

1. A file that is foreign, damaged or of another schema version is refused before any change is made.
2. A new store is made under another name and renamed, so each store has its schema row.
3. `commit` is all or nothing. If the map is full, it grows and the same batch is applied again.
4. The map never moves during a read. One lock excludes reads, growing and swapping from each other.

Any thread may read. Only one thread at a time may call `commit`, `swap` and `close`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeVar

import lmdb

from ..actors.checks import check_choice
from ..actors.errors import StoreError, StoreFull
from .batch import Batch
from .file.disk import has_room, make_folder, remove, sync_folder
from .file.header import Header, ensure_sound, inspect
from .file.lmdb_errors import errno_of, translate, translated
from .file.names import draft_file, gate, lock_file, remove_drafts, store_file
from .file.new_store import make_store
from .file.page_check import claim, vouch
from .tables.rows import apply, walk
from .tables.schema import Table

T = TypeVar("T")

Durability = Literal["disk", "os"]
"""A commit waits for the disk (survives a power cut) or for the system (survives this process's death)."""

MAP_SIZE: Final = 256 << 20
"""Bytes of address space at first; doubled when full. The file takes only the bytes in use."""

READER_CHECK: Final = 10.0
"""Seconds between two checks for dead readers by commits."""

MAX_READERS: Final = 1024
"""The most transactions that may read at once, in all processes."""


_OWN_PAGES: Final = 16  # LMDB's own pages: the meta pages, the list of tables and the list of free pages


class Environment:
    """An open store, read-write."""

    def __init__(self, home: Path, map_size: int = MAP_SIZE, durability: Durability = "disk") -> None:
        """Open the store of `home`, or make one.

        Raises StoreForeign, StoreVersion, StoreCorrupt or HomeError before any change; also raises StoreFull.
        """
        check_choice("durability", durability, ("disk", "os"))
        self.home = home
        self.path = store_file(home)
        self.durability = durability
        self._lock = threading.Lock()
        self._closed = False
        #: Whether a swap has begun and not finished.
        self.swapping = False
        self._snapshot: lmdb.Transaction[bytes] | None = None
        header = inspect(self.path)
        with translated("make a store in", home):
            make_folder(home, 0o700)
            remove_drafts(home)
            if header is None:
                make_store(home)
                header = inspect(self.path)
                assert header is not None, "it was just made"
        #: Random bytes made with the store, which identify it.
        self.home_id = header.home_id
        with translated("open", self.path):
            self._claim = claim(self.path)
        try:
            ensure_sound(self.path, header)
            self._open(max(map_size, header.map_size, _needed(header)))
            # The file may grow large here. With the voucher, the next opening need not check it.
            vouch(self.path, written=True)
        except BaseException:
            os.close(self._claim)
            raise

    def _open(self, map_size: int) -> None:
        with translated("open", self.path):
            self._env = lmdb.open(
                os.fspath(self.path),
                map_size=map_size,
                subdir=False,
                create=False,
                # Without sync, syncing the meta page is useless: a power cut may damage the store anyway.
                sync=self.durability == "disk",
                metasync=self.durability == "disk",
                mode=0o600,
                max_readers=MAX_READERS,
                max_dbs=len(Table),
                lib_version=0,
            )
            try:
                self._forget_dead_readers()
                with self._env.begin(write=True) as transaction:
                    self._tables = {
                        table: self._env.open_db(table.encode(), txn=transaction, create=True)
                        for table in Table
                    }
            except BaseException:
                self._env.close()
                raise
        self.map_size = map_size

    # Reading. The snapshot is kept between calls, because making one costs more than a look-up.

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value on disk, as of the last `refresh` or later."""
        return self._read(lambda reading: reading.get(key, None, self._tables[table]))

    def get_many(self, table: Table, keys: list[bytes]) -> dict[bytes, bytes]:
        """The rows of these keys that are on disk, as of the last `refresh` or later."""

        def look(reading: lmdb.Transaction[bytes]) -> dict[bytes, bytes]:
            with reading.cursor(self._tables[table]) as cursor:
                return dict(cursor.getmulti(keys))

        return self._read(look)

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, by key; from the last one down if `reverse`."""
        return self._read(
            lambda reading: list(islice(walk(reading, self._tables[table], start, stop, reverse), limit))
        )

    def count(self, table: Table) -> int:
        """How many rows the table has."""
        return self._read(lambda reading: reading.stat(self._tables[table])["entries"])

    def free_bytes(self) -> int:
        """Bytes of the file's free pages, which new rows use first."""

        def look(reading: lmdb.Transaction[bytes]) -> int:
            page = used = 0
            for table in self._tables.values():
                stat = reading.stat(table)
                page = stat["psize"]
                used += stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            return max(0, self._env.info()["last_pgno"] - used - _OWN_PAGES) * page

        return self._read(look)

    def refresh(self) -> None:
        """Drop the snapshot, so that reads see the newest commit and old pages can be reused."""
        with self._lock:
            self._drop_snapshot()

    def _read(self, look: Callable[[lmdb.Transaction[bytes]], T]) -> T:
        with self._lock:
            try:
                return look(self._reading())
            except lmdb.Error as error:
                raise translate(error, "read", self.path) from error

    def _reading(self) -> lmdb.Transaction[bytes]:
        if self._snapshot is None:
            if self._closed:
                raise StoreError("the store was closed; open it again")
            try:
                self._snapshot = self._env.begin()
            except lmdb.ReadersFullError:
                # Killed readers keep their slots until a check.
                self._env.reader_check()
                self._snapshot = self._env.begin()
        return self._snapshot

    def _drop_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.abort()
            self._snapshot = None

    # Writing.

    def commit(self, batch: Batch) -> None:
        """Write the batch to disk, all of it or nothing.

        Raises StoreFull if there is no room (try again later), StoreCorrupt or StoreError if a retry is
        useless.
        """
        reopened = False
        while True:
            try:
                self.forget_dead_readers()
                self._apply(batch)
                return
            except lmdb.MapFullError:
                self._grow()
            except lmdb.PanicError as error:
                # An earlier commit failed at its last step, the meta page. Reopening finds the valid meta
                # page. If that commit did succeed, applying its batch again is harmless.
                if reopened:
                    raise translate(error, "write", self.path) from error
                reopened = True
                with self._lock:
                    self._reopen()
            except lmdb.Error as error:
                if errno_of(error) == errno.EIO and not self._has_room(batch):
                    raise StoreFull(
                        f"cannot write {self.path}: the disk is full. Free space on it"
                    ) from error
                raise translate(error, "write", self.path) from error

    def forget_dead_readers(self) -> None:
        """Free the slots of dead readers, unless that was done in the last READER_CHECK seconds.

        Any thread.
        """
        if time.monotonic() - self._readers_checked > READER_CHECK:
            self._forget_dead_readers()

    def _forget_dead_readers(self) -> None:
        # A process killed during a read prevents the reuse of the pages in its snapshot.
        self._env.reader_check()
        self._readers_checked = time.monotonic()

    def _apply(self, batch: Batch) -> None:
        with self._env.begin(write=True) as transaction:
            for table, rows in batch.rows.items():
                if rows:
                    apply(transaction, self._tables[table], rows)

    def _has_room(self, batch: Batch) -> bool:
        # The write that was cut short has used up the free room, so a small test is enough.
        with translated("write", self.path):
            return has_room(self.path, 2 * batch.size + (1 << 20))

    def _grow(self) -> None:
        with self._lock:
            self._drop_snapshot()
            old = self.map_size
            try:
                self._env.set_mapsize(2 * old)
            except (OSError, lmdb.Error) as error:
                # LMDB has unmapped the old map, so it would crash at the next read.
                self._reopen()
                raise translate(error, f"grow the memory map to {2 * old} bytes of", self.path) from error
            self.map_size = 2 * old

    def _reopen(self) -> None:
        self._drop_snapshot()
        self._env.close()
        self._open(self.map_size)

    def compact(self) -> None:
        """Replace the data file by a compacted copy; see `swap` for errors. Needs room for the copy meanwhile."""
        copy = draft_file(self.home, "compact")
        try:
            self.copy(copy)
            self.swap(copy)
        finally:
            remove(copy)

    def copy(self, target: Path) -> None:
        """Write a compacted copy of the newest snapshot and sync it. The caller removes it on errors."""
        with translated("write", target):
            write_copy(self._env, target)

    def swap(self, copy: Path) -> None:
        """Replace the data file by a copy made by `copy`. There must be no commit in between.

        A crash at any step leaves the old store or the new one. After a StoreError, the store is unchanged if
        `swapping` is False, and must not be written any more if it is True.
        """
        # The open descriptor delays freeing the old file's blocks, which takes long for a large file, so
        # that the loop does not wait for it. The folder may be synced after the lock, because no commit
        # comes before that.
        with translated("replace", self.path), gate(self.home, alone=True), self.path.open("rb"):
            claimed = claim(copy)
            with self._lock:
                self.swapping = True
                self._drop_snapshot()
                self._env.close()
                try:
                    # First, because an old lock file misreads a new data file.
                    remove(lock_file(self.home))
                    copy.replace(self.path)
                    vouch(self.path, written=True)
                finally:
                    os.close(self._claim)
                    self._claim = claimed
                    self._open(self.map_size)
            sync_folder(self.home)
            self.swapping = False

    def close(self) -> None:
        """Sync all commits to disk and close the files; may be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._drop_snapshot()
            try:
                if self.durability == "os":
                    with translated("write", self.path):
                        self._env.sync(True)
            finally:
                self._env.close()
                os.close(self._claim)


def write_copy(env: lmdb.Environment, target: Path, *, compact: bool = True) -> int:
    """Write the newest snapshot to a file and sync it; returns its bytes. Raises OSError and lmdb.Error."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        env.copyfd(descriptor, compact=compact)
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _needed(header: Header) -> int:
    return (header.last_page + 1) * header.page_size

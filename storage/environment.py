"""Environment: the LMDB environment in the one process that writes a store.

Guarantees:

1. A file that is foreign, damaged or of an unknown schema version is refused before any change is made. One of an
   older version is upgraded in place, in one commit for each version (`upgrades`).
2. A new store is made under another name and renamed, so each store has its schema row.
3. `commit` is all or nothing. If the map is full, it grows and the same batch is applied again.
4. The map never moves during a read. One lock excludes reads, growing and swapping from each other.
5. No page that a reader in any process may read is reused; see `file.locks`.

Any thread may read. Only one thread at a time may call `commit`, `swap` and `close`.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final, Literal, TypeVar

import lmdb

from ..actors.checks import check_choice
from ..actors.errors import HomeInUse, StoreError, StoreFull
from .batch import Batch
from .file.disk import has_room, make_folder, remove, reserve, room_and_reserve, sync_folder
from .file.header import Header, ensure_sound, inspect
from .file.lmdb_errors import errno_of, translate, translated
from .file.locks import begin_commit, claim, end_commit, is_read
from .file.names import draft, lock_file, remove_drafts, store_file
from .file.new_store import make_store
from .file.page_check import vouch
from .tables.rows import apply, taken, walk
from .tables.schema import SCHEMA_ROW, SCHEMA_VERSION, Table
from .upgrades import present_tables, upgrade

T = TypeVar("T")

Durability = Literal["disk", "os"]
"""A commit waits for the disk (survives a power cut) or for the system (survives this process's death)."""

MAP_SIZE: Final = 256 << 20
"""Bytes of address space at first; doubled when full. The file takes only the bytes in use."""

OLD_READERS: Final = 5.0
"""Seconds that opening waits for readers of older states, before it leaves the file to them and takes a copy."""

#: Seconds that a pin serves. Looking for locks at each commit would cost as much as a small one.
_PIN_FOR: Final = 0.002

LOCK_BYTES: Final = 16 * 1024
"""Bytes of LMDB's file of readers, with the number of readers that it has by default."""

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
        #: Transactions that keep the pages of other processes' readers, by the number of their commit.
        self._pins: list[tuple[int, lmdb.Transaction[bytes]]] = []
        self._pinned = 0.0
        #: Whether the next commit has to wait for readers that no pin protects.
        self.exposed = False
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
        self._claim = self._claimed()
        try:
            ensure_sound(self.path, header)
            self._open(max(map_size, header.map_size, _needed(header)))
            try:
                # The file may grow large here. With the voucher, the next opening need not check it.
                vouch(self.path, written=True)
                self._upgrade()
            except BaseException:
                self._close()
                raise
        except BaseException:
            os.close(self._claim)
            raise

    def _claimed(self) -> int:
        with translated("open", self.path):
            claimed = claim(self.path)
        if claimed is None:
            raise HomeInUse(f"another process writes {self.path}; stop it first", str(self.home))
        return claimed

    def _open(self, map_size: int) -> None:
        with translated("open", self.path):
            # What a dead writer has left in LMDB's table of readers would keep its pages for ever.
            remove(lock_file(self.home))
            # LMDB makes it without taking room for it, and writes through a map: on a full disk that is a SIGBUS.
            reserve(lock_file(self.home), LOCK_BYTES)
            self._env = lmdb.open(
                os.fspath(self.path),
                map_size=map_size,
                subdir=False,
                create=False,
                # Without sync, syncing the meta page is useless: a power cut may damage the store anyway.
                sync=self.durability == "disk",
                metasync=self.durability == "disk",
                mode=0o600,
                max_dbs=len(Table),
                lib_version=0,
            )
            try:
                self._pin()
                self.exposed = self._old_readers()
                self._tables = present_tables(self._env)
            except BaseException:
                self._unpin()
                self._env.close()
                raise
        self.map_size = map_size

    def _upgrade(self) -> None:
        """Bring the store to the schema of this release, in one commit for each version."""
        while self.get(Table.META, SCHEMA_ROW) != b"%d" % SCHEMA_VERSION:
            self._write(lambda: self._transact(lambda transaction: upgrade(self._env, transaction)))
            self._tables = present_tables(self._env)
            self.refresh()
        self.refresh()  # a snapshot that nobody needs would keep its pages

    def _old_readers(self) -> bool:
        """Whether a process reads another state than the newest one, so that a pin of the newest does not protect it.

        It may be a later one: of a commit that has failed, or was taken away by an error of the disk.
        """
        newest = self._env.info()["last_txnid"]
        return is_read(self._claim, 0, newest) or is_read(self._claim, newest + 1)

    def _pin(self) -> None:
        """Keep the pages of the newest commit, and give up those that no reader needs any more."""
        now = time.monotonic()
        if self._pins and now - self._pinned < _PIN_FOR:
            return  # an older pin keeps more
        self._pinned = now
        newest = self._env.begin()
        self._pins.append((newest.id(), newest))
        while len(self._pins) > 1 and not is_read(self._claim, 0, self._pins[1][0]):
            self._pins.pop(0)[1].abort()
        if len(self._pins) > 2:
            # The second pin stays until it can be the first: readers that began after it do not hold it up.
            self._pins.pop()[1].abort()

    def _unpin(self) -> None:
        while self._pins:
            self._pins.pop()[1].abort()

    def _leave_old_readers(self, patient: bool) -> bool:
        """Wait until nobody reads a state older than the newest one; needed where the pins are lost.

        A backup takes long, and a stopped process reads for ever. After OLD_READERS seconds they keep the old
        file, and the store moves to a copy. Returns False at once if it would have to wait and is not `patient`.
        """
        deadline = time.monotonic() + OLD_READERS
        while self._old_readers():
            if not patient:
                return False
            if time.monotonic() > deadline:
                self.compact()
                break
            time.sleep(0.01)
        self.exposed = False
        return True

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
        most_bytes: int | None = None,
    ) -> list[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, by key; from the last one down if `reverse`. It ends with the row by which the
        values reach `most_bytes`."""
        return self._read(
            lambda reading: taken(
                islice(walk(reading, self._tables[table], start, stop, reverse), limit), most_bytes
            )
        )

    def count(self, table: Table) -> int:
        """How many rows the table has."""
        return self._read(lambda reading: reading.stat(self._tables[table])["entries"])

    def room(self) -> tuple[int, int]:
        """Bytes of the file system that new work may take, and those kept for what must go on."""
        return room_and_reserve(self.home)

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
            self._snapshot = self._env.begin()
        return self._snapshot

    def _drop_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.abort()
            self._snapshot = None

    # Writing.

    def commit(self, batch: Batch, *, patient: bool = True) -> bool:
        """Write the batch to disk, all of it or nothing.

        Returns False, and has written nothing, if it would have to wait for readers and is not `patient`.
        Raises StoreFull if there is no room (try again later), StoreCorrupt or StoreError if a retry is
        useless.
        """
        return self._write(lambda: self._apply(batch), batch.size, patient)

    def _write(self, change: Callable[[], None], size: int = 0, patient: bool = True) -> bool:
        """Commit a change whose rows have this many bytes together; see `commit`. It may be tried several times."""
        reopened = False
        while True:
            try:
                if self.exposed and not self._leave_old_readers(patient):
                    return False
                change()
                return True
            except lmdb.MapFullError:
                # Growing ends all transactions, and so the pins.
                if not self._leave_old_readers(patient):
                    return False
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
                if errno_of(error) == errno.EIO and not self._has_room(size):
                    raise StoreFull(
                        f"cannot write {self.path}: the disk is full. Free space on it"
                    ) from error
                raise translate(error, "write", self.path) from error

    def _apply(self, batch: Batch) -> None:
        def put(transaction: lmdb.Transaction[bytes]) -> None:
            for table, rows in batch.rows.items():
                if rows:
                    apply(transaction, self._tables[table], rows)

        self._transact(put)

    def _transact(self, change: Callable[[lmdb.Transaction[bytes]], None]) -> None:
        self._pin()
        with self._env.begin(write=True) as transaction:
            change(transaction)
            if self.durability == "os":
                transaction.commit()  # there is no sync that a reader could wait for
                return
            begin_commit(self._claim, transaction.id())
            try:
                transaction.commit()
            finally:
                end_commit(self._claim)

    def _has_room(self, size: int) -> bool:
        # The write that was cut short has used up the free room, so a small test is enough.
        with translated("write", self.path):
            return has_room(self.path, 2 * size + (1 << 20))

    def _grow(self) -> None:
        with self._lock:
            self._drop_snapshot()
            self._unpin()
            old = self.map_size
            try:
                self._env.set_mapsize(2 * old)
            except (OSError, lmdb.Error) as error:
                # LMDB has unmapped the old map, so it would crash at the next read.
                self._reopen()
                raise translate(error, f"grow the memory map to {2 * old} bytes of", self.path) from error
            self.map_size = 2 * old
            self._pin()

    def _reopen(self) -> None:
        self._close()
        self._open(self.map_size)

    def _close(self) -> None:
        self._drop_snapshot()
        self._unpin()
        self._env.close()
        with suppress(OSError):  # the next opening removes it, too
            remove(lock_file(self.home))

    def compact(self) -> None:
        """Replace the data file by a compacted copy; see `swap` for errors. Needs room for the copy meanwhile."""
        with translated("make a copy of the store in", self.home), draft(self.home, "compact") as copy:
            self.copy(copy)
            self.swap(copy)

    def copy(self, target: Path) -> None:
        """Write a compacted copy of the newest snapshot to this draft and sync it."""
        with translated("write", target):
            write_copy(self._env, target)

    def swap(self, copy: Path) -> None:
        """Replace the data file by a copy made by `copy`. There must be no commit in between.

        A crash at any step leaves the old store or the new one. After a StoreError, the store is unchanged if
        `swapping` is False, and must not be written any more if it is True.
        """
        with translated("replace", self.path):
            claimed = claim(copy)
            assert claimed is not None, "nobody else knows its name"
            unused = claimed
            try:
                with self._lock:
                    self.swapping = True
                    self._close()
                    try:
                        copy.replace(self.path)
                        self._claim, unused = claimed, self._claim
                        vouch(self.path, written=True)
                    finally:
                        self._open(self.map_size)
                # After the lock, because no commit comes before that.
                sync_folder(self.home)
                self.swapping = False
            finally:
                # Closed last: freeing the blocks of a large file takes long, and the loop must not wait for it.
                os.close(unused)

    def close(self) -> None:
        """Sync all commits to disk and close the files; may be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self.durability == "os":
                    with translated("write", self.path):
                        self._env.sync(True)
            finally:
                self._close()
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

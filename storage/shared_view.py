"""SharedView: a store in a process that only reads it, opened when needed and at most once per process.

A process must not map a file twice. All readers of a home share one SharedView from a registry, which counts its
users. The supervisor's process never uses one.

Guarantees:

1. A missing store reads as empty, and is found when it has been made. One that is removed while a supervisor writes
   it is read on.
2. Before each read the view checks that its data file is still the current one. If not, it opens the new one (the
   supervisor swaps it when it compacts). Reads under way continue in the old one.
3. If the writer has grown the file beyond the map, the map grows too, but not during this process's reads.
4. A read needs nothing but the data file, by which it tells the writer what it reads (`file.locks`). So it works in
   every container that has the home, with and without a supervisor, and makes no file.
5. A store of an older schema version is read, without the tables that it lacks. When a supervisor has added them
   (`upgrades`), the next read finds them.
6. A fork closes the views in the child, which opens its own at its first read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import lmdb

from ..actors.errors import StoreError
from .environment import MAP_SIZE
from .file.header import ensure_sound, inspect
from .file.lmdb_errors import translate
from .file.locks import begin_read, claimed, end_read, is_claimed
from .file.names import store_file
from .tables.rows import walk
from .tables.schema import Table
from .upgrades import present_tables

_FORK_PATIENCE: Final = 5.0  # seconds that a fork waits for reads under way

_FileId = tuple[int, int]


class Snapshot:
    """One consistent state of the store during a read.

    Empty if there is no store. So is a table that the store lacks, because it waits for its upgrade.
    """

    __slots__ = ("env", "tables", "transaction")

    def __init__(
        self,
        env: lmdb.Environment | None = None,
        transaction: lmdb.Transaction[bytes] | None = None,
        tables: dict[Table, lmdb._Database] | None = None,
    ) -> None:
        self.env = env
        self.transaction = transaction
        self.tables = tables or {}

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The row's value; None if there is no such row."""
        if self.transaction is None or (database := self.tables.get(table)) is None:
            return None
        return self.transaction.get(key, None, database)

    def rows(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, by key; from the last one down if `reverse`."""
        if self.transaction is not None and (database := self.tables.get(table)) is not None:
            yield from walk(self.transaction, database, start, stop, reverse)

    def last_key(self, table: Table, start: bytes, stop: bytes | None) -> bytes | None:
        """The last key with start <= key < stop; None if there is none. Its value is not read."""
        if self.transaction is None or (database := self.tables.get(table)) is None:
            return None
        with self.transaction.cursor(database) as cursor:
            if cursor.prev() if stop is not None and cursor.set_range(stop) else cursor.last():
                key: bytes = cursor.key()
                return key if key >= start else None
        return None

    def count(self, table: Table) -> int:
        """How many rows the table has."""
        if self.transaction is None or (database := self.tables.get(table)) is None:
            return 0
        return self.transaction.stat(database)["entries"]


class SharedView:
    """The open files of one home in this process. Get one with `view_of`, return it with `release`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = store_file(home)
        self._name = os.fspath(self.path)  # looked at before each read; a Path takes longer
        self.users = 0
        self._env: lmdb.Environment | None = None
        self._tables: dict[Table, lmdb._Database] = {}
        #: The newest commit when tables were looked for last.
        self._looked = 0
        self._file: _FileId | None = None
        # The number of reads under way. Opening, remapping and closing wait until it is 0.
        self._condition = threading.Condition()
        self._reads = 0
        self._waiting = 0
        #: Descriptors of the data file: one for each read under way, and those that the next reads use.
        self._held: dict[lmdb.Transaction[bytes], int] = {}
        self._idle: list[int] = []
        #: One that no read uses, to look at the file and to open more of it; -1 if the file is not open.
        self._first = -1

    @property
    def is_open(self) -> bool:
        """Whether the file is open. The first read opens it, if there is a store."""
        return self._env is not None

    def read(self) -> Reading:
        """A block with the newest committed state. Do not fork, and do not read again, inside the block."""
        return Reading(self)

    def newest(self) -> int:
        """The number of the newest commit in the file that is open; 0 if none is. It takes a microsecond."""
        with self._condition:
            return 0 if self._env is None else int(self._env.info()["last_txnid"])

    def begin(self) -> Snapshot:
        """The newest committed state; `end` must follow if it has a transaction. Raises LMDB's and OS errors."""
        while True:
            try:
                env = self._enter()
                if env is None:
                    return Snapshot()
                transaction = self._begin_in(env)
            except _SwappedError:
                continue
            if transaction is not None:
                return Snapshot(env, transaction, self._tables)
            self._remap(env)

    def end(self, transaction: lmdb.Transaction[bytes]) -> None:
        """End a read."""
        transaction.abort()
        with self._condition:
            descriptor = self._held.pop(transaction, -1)
            if descriptor >= 0:  # otherwise this is a fork's child, which has closed it
                end_read(descriptor)
                self._idle.append(descriptor)
                self._leave()

    def _enter(self) -> lmdb.Environment | None:
        """The environment of the current data file, which stays open until `_leave`; None if there is no store."""
        with self._condition:
            while self._waiting:
                self._condition.wait()
            current: _FileId | None
            try:
                current = _file_id(os.stat(self._name))
            except FileNotFoundError:
                # A supervisor makes the file anew, and writes the removed one until then.
                if self._env is None or not is_claimed(self._first):
                    return None
                current = self._file
            if self._env is None or self._file != current:
                self._wait_for_reads()
                self._open()
            elif len(self._tables) < len(Table) and self._env.info()["last_txnid"] != self._looked:
                self._wait_for_reads()
                if self._env is not None:
                    self._look_for_tables(self._env, self._first)
            if self._env is not None:
                self._reads += 1
            return self._env

    def _begin_in(self, env: lmdb.Environment) -> lmdb.Transaction[bytes] | None:
        """Begin a read in the environment that `_enter` gave; None if its map is too small."""
        descriptor = -1
        try:
            try:
                descriptor = self._idle.pop()
            except IndexError:
                descriptor = self._descriptor()
            transaction = begin_read(env, descriptor)
            self._held[transaction] = descriptor
            return transaction
        except BaseException as error:
            with self._condition:
                if descriptor >= 0:
                    end_read(descriptor)
                    self._idle.append(descriptor)
                self._leave()
            if isinstance(error, lmdb.MapResizedError):
                return None
            raise

    def _leave(self) -> None:
        self._reads -= 1
        if self._waiting:
            self._condition.notify_all()

    def _descriptor(self) -> int:
        """One more descriptor of the data file that is open, which may have been removed."""
        try:
            try:
                descriptor = _descriptor(self.path)
            except FileNotFoundError:
                descriptor = _descriptor(Path(f"/proc/self/fd/{self._first}"))
        except FileNotFoundError as error:
            raise _SwappedError from error
        if _file_id(os.fstat(descriptor)) != self._file:
            os.close(descriptor)
            raise _SwappedError
        return descriptor

    def _remap(self, env: lmdb.Environment) -> None:
        with self._condition:
            self._wait_for_reads()
            if env is self._env:
                env.set_mapsize(0)

    def _wait_for_reads(self, timeout: float | None = None) -> bool:
        """Block new reads and wait until none is under way; returns False after `timeout` seconds."""
        self._waiting += 1
        try:
            return self._condition.wait_for(lambda: self._reads == 0, timeout)
        finally:
            self._waiting -= 1
            self._condition.notify_all()

    def _open(self) -> None:
        """Open the current data file, unless it is empty. Raises the errors of `inspect`."""
        self._close()
        header = inspect(self.path)
        if header is None:
            return
        if not claimed(self.path):
            header = ensure_sound(self.path, header)
        descriptor = _descriptor(self.path)
        try:
            env = lmdb.open(
                os.fspath(self.path),
                map_size=max(MAP_SIZE, header.map_size),
                subdir=False,
                readonly=True,
                create=False,
                lock=False,
                max_dbs=len(Table),
                lib_version=0,
            )
            try:
                # The path may have led to another file meanwhile. It does not lead back to this one then.
                self._file = _file_id(os.fstat(descriptor))
                if self._file != _file_id(os.stat(self.path)):
                    raise _SwappedError
                self._look_for_tables(env, descriptor)
            except BaseException:
                env.close()
                raise
        except (OSError, lmdb.Error) as error:
            os.close(descriptor)
            if isinstance(error, FileNotFoundError):
                raise _SwappedError from error
            if "already open" in str(error):
                raise StoreError(
                    f"{self.path} is open in this process already, by the store's writer or from before a fork; "
                    "read it through that, or in another process"
                ) from error
            raise translate(error, "open", self.path) from error
        except BaseException:
            os.close(descriptor)
            raise
        self._first = descriptor
        self._env = env

    def _look_for_tables(self, env: lmdb.Environment, descriptor: int) -> None:
        """Open the tables that there are. No read is under way, because it could not use a new one."""
        self._looked = env.info()["last_txnid"]
        self._tables = _tables(env, descriptor)

    def _close(self) -> None:
        """Close the files. No read is under way, or they are the parent's in a fork's child."""
        if self._env is not None:
            self._env.close()
        self._forget()

    def _forget(self) -> None:
        self._env = None
        self._tables = {}
        self._file = None
        for descriptor in (*self._idle, *self._held.values(), self._first):
            if descriptor >= 0:
                os.close(descriptor)
        self._first = -1
        self._idle.clear()
        self._held.clear()

    def close(self) -> None:
        """Close the files after the reads under way."""
        with self._condition:
            self._wait_for_reads()
            self._close()

    # Forks. No read may be under way, because closing in the child would end it there, in the middle of a call.

    def before_fork(self) -> bool:
        """Wait for reads and block new ones; returns False if reads lasted too long."""
        if not self._condition.acquire(timeout=_FORK_PATIENCE):
            return False
        if self._wait_for_reads(_FORK_PATIENCE):
            return True
        self._condition.release()
        return False

    def after_fork_in_parent(self) -> None:
        """Allow reads again."""
        self._condition.release()

    def after_fork_in_child(self, calm: bool) -> None:
        """Close the parent's files in the child, unless a read was under way in the parent (not `calm`)."""
        # The parent's other threads, which may have waited, do not exist here.
        self._condition = threading.Condition()
        self._reads = self._waiting = 0
        # The descriptors, too: otherwise this process would keep the parent's locks after the parent's death.
        if calm:
            self._close()
        else:
            self._forget()


class Reading:
    """One read, as a context manager.

    A class, because a client reads each result so: generators would take as long as the read itself.
    """

    __slots__ = ("_snapshot", "_view")

    def __init__(self, view: SharedView) -> None:
        self._view = view

    def __enter__(self) -> Snapshot:
        try:
            self._snapshot = self._view.begin()
        except (OSError, lmdb.Error) as error:
            raise translate(error, "read", self._view.path) from error
        return self._snapshot

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._snapshot.transaction is not None:
            self._view.end(self._snapshot.transaction)
        if isinstance(error, lmdb.Error):
            raise translate(error, "read", self._view.path) from error


class _SwappedError(Exception):
    """Another data file took the place of the one that was to be opened."""


def _tables(env: lmdb.Environment, descriptor: int) -> dict[Table, lmdb._Database]:
    while True:
        try:
            transaction = begin_read(env, descriptor)
            try:
                return present_tables(env)
            finally:
                transaction.abort()
        except lmdb.MapResizedError:
            env.set_mapsize(0)
        finally:
            end_read(descriptor)


def _descriptor(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not block


def _file_id(found: os.stat_result) -> _FileId:
    return found.st_dev, found.st_ino


_views: dict[str, SharedView] = {}
_views_lock = threading.Lock()
_calm: list[SharedView] = []  # views without reads; filled before a fork, emptied after it


def view_of(home: Path) -> SharedView:
    """The process's view of this home. Adds one user."""
    key = os.path.realpath(home)
    with _views_lock:
        view = _views.get(key)
        if view is None:
            view = _views[key] = SharedView(Path(key))
        view.users += 1
        return view


def release(view: SharedView) -> None:
    """Remove one user; the last release closes the files."""
    with _views_lock:
        view.users -= 1
        if view.users == 0:
            _views.pop(str(view.home), None)
            view.close()


def _before_fork() -> None:
    _views_lock.acquire()
    _calm.extend(view for view in _views.values() if view.before_fork())


def _after_fork_in_parent() -> None:
    for view in _calm:
        view.after_fork_in_parent()
    _calm.clear()
    _views_lock.release()


def _after_fork_in_child() -> None:
    for view in _views.values():
        view.after_fork_in_child(view in _calm)
    _calm.clear()
    _views_lock.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
)

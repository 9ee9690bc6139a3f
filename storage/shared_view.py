"""SharedView: a store in a process that only reads it, opened when needed and at most once per process.

LMDB's locks belong to a process and a file, so a process must not open a file twice. All readers of a home
share one SharedView from a registry, which counts its users. The supervisor's process never uses one.

Guarantees:

1. A missing store reads as empty, and is found when it has been made.
2. Before each read the view checks that its data file and lock file are still the current ones. If not, it
   opens the new ones (the supervisor swaps both when it compacts). Reads under way continue in the old ones.
3. If the writer has grown the file beyond the map, the map grows too, but not during this process's reads.
4. A fork closes the views in the child, which opens its own at its first read.
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
from .environment import MAP_SIZE, MAX_READERS
from .file.header import ensure_sound, inspect
from .file.lmdb_errors import translate
from .file.names import gate, lock_file, store_file
from .file.page_check import claimed
from .tables.rows import walk
from .tables.schema import Table

_FORK_PATIENCE: Final = 5.0  # seconds that a fork waits for reads under way

_FileId = tuple[int, int] | None


class Snapshot:
    """One consistent state of the store during a read; empty if there is no store."""

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
        if self.transaction is None:
            return None
        return self.transaction.get(key, None, self.tables[table])

    def rows(
        self, table: Table, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop, by key; from the last one down if `reverse`."""
        if self.transaction is None:
            return
        yield from walk(self.transaction, self.tables[table], start, stop, reverse)

    def count(self, table: Table) -> int:
        """How many rows the table has."""
        return 0 if self.transaction is None else self.transaction.stat(self.tables[table])["entries"]


class SharedView:
    """The open files of one home in this process. Get one with `view_of`, return it with `release`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = store_file(home)
        self.users = 0
        self._env: lmdb.Environment | None = None
        self._paths = os.fspath(self.path), os.fspath(lock_file(home))
        self._tables: dict[Table, lmdb._Database] = {}
        self._files: tuple[_FileId, _FileId] = (None, None)
        # The number of reads under way. Opening, remapping and closing wait until it is 0.
        self._condition = threading.Condition()
        self._reads = 0
        self._waiting = 0

    @property
    def is_open(self) -> bool:
        """Whether the files are open. The first read opens them, if there is a store."""
        return self._env is not None

    def read(self) -> Reading:
        """A block with the newest committed state. Do not fork, and do not read again, inside the block."""
        return Reading(self)

    def begin(self) -> Snapshot:
        """The newest committed state; `leave` must follow if it has a transaction. Raises LMDB's and OS errors."""
        while True:
            with self._condition:
                if self._waiting:
                    self._condition.wait_for(lambda: not self._waiting)
                if self._env is None or self._files != self._current_files():
                    self._wait_for_reads()
                    self._open()
                if self._env is None:
                    return Snapshot()
                try:
                    transaction = self._env.begin()
                except lmdb.ReadersFullError:
                    if not self._env.reader_check():
                        raise
                    continue  # killed readers had kept their slots
                except lmdb.MapResizedError:
                    self._wait_for_reads()
                    self._env.set_mapsize(0)
                    continue
                self._reads += 1
                return Snapshot(self._env, transaction, self._tables)

    def leave(self) -> None:
        """End a read."""
        with self._condition:
            self._reads -= 1
            if self._waiting:
                self._condition.notify_all()

    def _wait_for_reads(self, timeout: float | None = None) -> bool:
        """Block new reads and wait until none is under way; returns False after `timeout` seconds."""
        self._waiting += 1
        try:
            return self._condition.wait_for(lambda: self._reads == 0, timeout)
        finally:
            self._waiting -= 1
            self._condition.notify_all()

    def _current_files(self) -> tuple[_FileId, _FileId]:
        data, lock = self._paths
        return _file_id(data), _file_id(lock)

    def _open(self) -> None:
        """Open the current files, if there is a store. Raises the errors of `inspect`."""
        self._close()
        if not self.path.exists():
            return
        with gate(self.home, alone=False):
            header = inspect(self.path)
            if header is None:
                return
            if not claimed(self.path):
                header = ensure_sound(self.path, header)
            try:
                env = lmdb.open(
                    os.fspath(self.path),
                    map_size=max(MAP_SIZE, header.map_size),
                    subdir=False,
                    readonly=True,
                    create=False,
                    max_readers=MAX_READERS,
                    max_dbs=len(Table),
                    lib_version=0,
                )
                try:
                    env.reader_check()
                    self._tables = {table: env.open_db(table.encode(), create=False) for table in Table}
                except BaseException:
                    env.close()
                    raise
            except (OSError, lmdb.Error) as error:
                if "already open" in str(error):
                    raise StoreError(
                        f"{self.path} is open in this process already, by the store's writer or from before a fork; "
                        "read it through that, or in another process"
                    ) from error
                raise translate(error, "open", self.path) from error
            self._env = env
            self._files = self._current_files()

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._env = None
        self._tables = {}
        self._files = (None, None)

    def close(self) -> None:
        """Close the files after the reads under way."""
        with self._condition:
            self._wait_for_reads()
            self._close()

    # Forks. No read may be under way, because closing in the child would end the parent's read in the shared
    # lock file.

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
        if calm:
            self._close()
        else:
            self._env = None


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
        transaction = self._snapshot.transaction
        if transaction is None:
            return
        transaction.abort()
        self._view.leave()
        if isinstance(error, lmdb.Error):
            raise translate(error, "read", self._view.path) from error


def _file_id(path: str) -> _FileId:
    try:
        found = os.stat(path)  # It comes before each read; `Path.stat` takes twice as long.
    except FileNotFoundError:
        return None
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

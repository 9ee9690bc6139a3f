"""Locks on a data file: of its one writer, and those by which its readers tell the writer what they read.

LMDB has a table of readers for this, which knows a reader by its pid. Pids are not unique: the first process of every
container is pid 1. And a reader that opens another copy of that table, because somebody removed the file, is not seen.
So only the writer's process uses LMDB's table, for itself, and these locks take its place between processes. They are
locks of open files (F_OFD_SETLK) on single bytes of the data file, far behind its end. They hold in every PID namespace
and container on this machine, need no file besides the data, and the kernel drops them when their owner dies.

1. A reader locks the byte of the newest commit, then begins its transaction, and uses it only if that commit is still
   the newest one. Several readers share a byte.
2. The writer keeps a transaction of its own, a pin, that is not newer than any reader's. LMDB reuses no page that a
   pin may read. A pin is dropped when no byte below the next one is locked.
3. The writer locks the byte of a commit alone while it writes it. A commit can be read before it is synced, and a power
   cut may take it away until then. So a reader waits for this lock.

Rule 2 holds for a reader at any moment. Either the writer sees its lock, and keeps a pin that is older. Or the reader
locks later, and so begins its transaction later, at a commit that is not older than the writer's newest pin.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path
from typing import Final

import lmdb

SYNC_PATIENCE: Final = 1.0
"""Seconds that a reader waits for the newest commit to be synced, before it reads it all the same."""

_PAUSE: Final = 0.0005
_FIRST: Final = 1 << 62  # the byte of commit 0
_WRITER: Final = -1  # the byte that the writer locks; no commit has this number
_DRAFT: Final = -2  # the byte that the maker of a draft locks
_FLOCK: Final = struct.Struct("=hhxxxxqqixxxx")  # struct flock: type, whence, start, length, pid
_PAGE_SIZE_AT: Final = (
    40  # where a meta page has the size of pages, and the number of its commit; see `header`
)
_COMMIT_AT: Final = 144
_USUAL_PAGE: Final = 4096
_U32: Final = struct.Struct("=I")
_U64: Final = struct.Struct("=Q")


def newest_commit(descriptor: int) -> int:
    """The number of the newest commit in this data file."""
    # Both meta pages at once, for pages of the usual size.
    head = os.pread(descriptor, _USUAL_PAGE + _COMMIT_AT + 8, 0)
    try:
        (page_size,) = _U32.unpack_from(head, _PAGE_SIZE_AT)
        if page_size != _USUAL_PAGE:
            head = os.pread(descriptor, page_size + _COMMIT_AT + 8, 0)
        (first,), (second,) = (
            _U64.unpack_from(head, _COMMIT_AT),
            _U64.unpack_from(head, page_size + _COMMIT_AT),
        )
        return int(max(first, second))
    except struct.error as error:
        raise lmdb.CorruptedError("the file was cut short") from error


def claim(path: Path) -> int | None:
    """Become the file's writer for as long as the returned descriptor is open; None if another process is."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if _lock(descriptor, fcntl.F_WRLCK, _WRITER):
        return descriptor
    os.close(descriptor)
    return None


def claimed(path: Path) -> bool:
    """Whether a living process writes the file; it has checked the pages before."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _is_locked(descriptor, _FIRST + _WRITER)
    finally:
        os.close(descriptor)


def begin_read(env: lmdb.Environment, descriptor: int) -> lmdb.Transaction[bytes]:
    """Begin to read the newest commit; `end_read` ends the lock, and must come after the transaction's end.

    `descriptor` is the data file, opened for this read only. Raises OSError and lmdb.Error.
    """
    deadline = time.monotonic() + SYNC_PATIENCE
    while True:
        commit = newest_commit(descriptor)
        late = time.monotonic() > deadline
        # If it is late, the disk hangs, or the writer was stopped. A lock below the commit protects it as well.
        if _lock(descriptor, fcntl.F_RDLCK, commit) or (
            late and _lock(descriptor, fcntl.F_RDLCK, commit - 1)
        ):
            transaction = env.begin()
            found = transaction.id()
            # The first comparison: it was synced. The second: its meta page was not written over meanwhile.
            if (late or found == commit) and found == newest_commit(descriptor):
                return transaction
            transaction.abort()
            end_read(descriptor)
        else:
            time.sleep(_PAUSE)


def end_read(descriptor: int) -> None:
    """Drop the locks of a read, even if a forked child still has the descriptor."""
    _set(descriptor, fcntl.F_UNLCK, _FIRST, 0)


def is_read_before(descriptor: int, commit: int) -> bool:
    """Whether anybody may read a state that is older than this commit. For the writer."""
    return commit > 0 and _is_locked(descriptor, _FIRST, commit)


def begin_commit(descriptor: int, commit: int) -> None:
    """Keep readers from reading this commit until `end_commit`. `descriptor` is open for writing."""
    # It can be locked already only if this commit was tried before and failed after it could be read.
    _lock(descriptor, fcntl.F_WRLCK, commit)


def end_commit(descriptor: int) -> None:
    """The commit is on disk, or has failed."""
    _set(descriptor, fcntl.F_UNLCK, _FIRST, 0)


def lock_draft(descriptor: int) -> bool:
    """Lock a draft for as long as this descriptor is open; False if its maker still has it."""
    return _lock(descriptor, fcntl.F_WRLCK, _DRAFT)


def _lock(descriptor: int, kind: int, commit: int) -> bool:
    try:
        _set(descriptor, kind, _FIRST + commit, 1)
    except BlockingIOError:
        return False
    return True


def _is_locked(descriptor: int, start: int, length: int = 1) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, *_ = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))
    return bool(kind != fcntl.F_UNLCK)


def _set(descriptor: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))

"""Locks on a data file: of its one writer, and those by which its readers tell the writer what they read.

LMDB has a table of readers for this, which knows a reader by its pid. Pids are not unique: the first process of every
container is pid 1. And a reader that opens another copy of that table, because somebody removed the file, is not seen.
So only the writer's process uses LMDB's table, for itself, and these locks take its place between processes. They are
locks of open files (F_OFD_SETLK) on single bytes of the data file, far behind its end. They hold in every PID namespace
and container on this machine, need no file besides the data, and the kernel drops them when their owner dies. Another
descriptor of the same file does not drop them when it is closed, as it does with the locks of POSIX.

1. A reader locks the byte of the newest commit, then begins its transaction, and uses it only if that commit is still
   the newest one. Several readers share a byte.
2. The writer keeps a transaction of its own, a pin, that is not newer than any reader's. LMDB reuses no page that a
   pin may read. A pin is dropped when no byte below the next one is locked.
3. The writer locks the byte of a commit alone while it writes and syncs it. A commit can be read before it is synced,
   and a power cut or an error of the disk may take it away until then. So a reader waits for this lock.

`docs/inside.md` has the argument why no reader ever reads a page that is written anew.
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
        return is_claimed(descriptor)
    finally:
        os.close(descriptor)


def is_claimed(descriptor: int) -> bool:
    """`claimed`, of an open file."""
    return _is_locked(descriptor, _FIRST + _WRITER)


def begin_read(env: lmdb.Environment, descriptor: int) -> lmdb.Transaction[bytes]:
    """Begin to read the newest commit; `end_read` drops the lock, and must come after the transaction's end.

    `env` was opened without LMDB's own locks. `descriptor` is its file, opened anew, and serves one read at a time.
    Raises OSError and lmdb.Error; call `end_read` then as well.
    """
    deadline: float | None = None
    late = False
    while True:
        commit = _newest(env)
        # If it is late, the disk hangs, or the writer was stopped. A lock below the commit protects it as well. It is
        # two below: should this commit fail, the next writer sees that a state is read which is not its newest.
        if _lock(descriptor, fcntl.F_RDLCK, commit) or (
            late and _lock(descriptor, fcntl.F_RDLCK, max(0, commit - 2))
        ):
            transaction = env.begin()
            found = transaction.id()
            # The first comparison: it was synced. The second: its meta page was not written over meanwhile.
            if (late or found == commit) and found == _newest(env):
                return transaction
            transaction.abort()
            end_read(descriptor)
        else:
            time.sleep(_PAUSE)
        if deadline is None:
            deadline = time.monotonic() + SYNC_PATIENCE
        late = time.monotonic() > deadline


def _newest(env: lmdb.Environment) -> int:
    """The number of the newest commit; no system call."""
    with env.begin() as transaction:
        return transaction.id()


def end_read(descriptor: int) -> None:
    """Drop the lock of a read, even if a forked child still has the descriptor."""
    _set(descriptor, fcntl.F_UNLCK, _FIRST, 0)


def is_read(descriptor: int, first: int = 0, end: int | None = None) -> bool:
    """Whether a reader holds a commit with first <= number < end; by default, any. Other descriptors' locks count."""
    if end is None:
        return _is_locked(descriptor, _FIRST + first, 0)
    return first < end and _is_locked(descriptor, _FIRST + first, end - first)


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

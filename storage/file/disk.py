"""The file system under a home: how much room is left, and writes that outlive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Final

FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, over quota, over the process's file size limit: each ends when somebody makes room."""

DENIED_ERRNOS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

PATH_ERRNOS: Final = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST})

RESERVE_BYTES: Final = 32 << 20
"""Room that new work may not take, so that what runs can still end. Of a small disk 5 % instead."""

_CHUNK: Final = bytes(1 << 20)


def room_and_reserve(path: Path) -> tuple[int, int]:
    """Bytes that new work may take of what its file system has free, and those kept from it beyond that.

    The first is below 0 when the reserve is being used. That is 32 MiB, of a small disk 5 % of its size.
    """
    try:
        disk = os.statvfs(path)
    except OSError:
        return sys.maxsize, RESERVE_BYTES  # a disk that fails is for the next write to tell
    reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 20)
    return disk.f_bavail * disk.f_frsize - reserve, reserve


def has_room(path: Path, size: int) -> bool:
    """Whether the file could grow by `size` bytes, found by doing it and taking it back.

    LMDB reports a write that a full disk cut short as EIO, the same as a broken disk; and no call tells of quotas
    and size limits beforehand. Only for the one process that writes the file, while no transaction writes it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        end = os.fstat(descriptor).st_size
        try:
            for start in range(0, size, len(_CHUNK)):
                wanted = min(len(_CHUNK), size - start)
                if os.pwrite(descriptor, _CHUNK[:wanted], end + start) < wanted:
                    return False
        except OSError as error:
            if error.errno in FULL_ERRNOS:
                return False
            raise
        finally:
            os.ftruncate(descriptor, end)
    finally:
        os.close(descriptor)
    return True


def sync_file(path: Path) -> None:
    """Bring a file's bytes to disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to disk, so that a rename in it outlives a power cut."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it, unless they are there; they outlive a power cut. `mode` is the folder's own,
    less the umask.

    Raises OSError, but not for a file that is there instead: whoever uses the folder finds that.
    """
    if not path.is_dir():
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
        # To make entries in a folder does not take the right to read it, which syncing it does.
        with contextlib.suppress(PermissionError):
            sync_folder(path.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file that need not be there."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()

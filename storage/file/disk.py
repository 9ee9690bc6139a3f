"""The file system of a home: its free space, and writes that survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Final

FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""No space, over quota, over the process's file size limit: temporary, until there is room again."""

DENIED_ERRNOS: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

PATH_ERRNOS: Final = frozenset({errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST})

RESERVE_BYTES: Final = 32 << 20
"""Bytes that new work may not take, so that running tasks can end. On a small disk, 5 % of its size."""

_CHUNK: Final = bytes(1 << 20)


def room_and_reserve(path: Path) -> tuple[int, int]:
    """(free bytes for new work, bytes in reserve) of the path's file system.

    The first is below 0 if the reserve is in use. The reserve is 32 MiB, or 5 % of a disk smaller than 640
    MiB.
    """
    try:
        disk = os.statvfs(path)
    except OSError:
        return sys.maxsize, RESERVE_BYTES  # the next write reports a failing disk
    reserve = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 20)
    return disk.f_bavail * disk.f_frsize - reserve, reserve


def has_room(path: Path, size: int) -> bool:
    """Whether the file can grow by `size` bytes, found by growing it and truncating it again.

    LMDB reports a write cut short by a full disk as EIO, like a broken disk. No call reports quotas and size
    limits in advance. Only the process that writes the file may call this, and only while no transaction
    writes it.
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


def sync_folder(path: Path) -> None:
    """Sync a folder's entries to disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and its parents, unless they exist. They survive a power cut.

    `mode` is the folder's own, less the umask. Raises OSError, but not if the path is a file: the next use of
    the folder fails then.
    """
    if not path.is_dir():
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
        # Syncing a folder needs read permission, but making entries in it does not.
        with contextlib.suppress(PermissionError):
            sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()

"""The file system of a home: its free space, and writes that survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
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


def open_in_home(path: Path, flags: int) -> int:
    """Open a file of a home, and make it if it is missing: for the users who may use the home, and for no others."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        share(descriptor, path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def share(file: int | Path, home: Path) -> None:
    """Give a file of a home, or a folder in it, the group of the home if that is shared, and no access to others.

    If we are root, give it the home's owner, too: who keeps a home must be able to use all of it. A link is left
    alone, because it could lead root to a file that is not in the home.
    """
    if isinstance(file, Path):
        descriptor = os.open(file, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            share(descriptor, home)
        finally:
            os.close(descriptor)
        return
    folder, found = os.stat(home), os.fstat(file)
    several = found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode)
    if stat.S_ISLNK(found.st_mode) or (several and os.geteuid() == 0):
        return
    shared = is_shared(folder)
    own = stat.S_IMODE(found.st_mode) & 0o700
    mode = own | (own >> 3 if shared else 0)
    owner = folder.st_uid if os.geteuid() == 0 else found.st_uid
    group = folder.st_gid if shared or owner != found.st_uid else found.st_gid
    place = f"/proc/self/fd/{file}"  # fchown and fchmod refuse descriptors of O_PATH
    # What belongs to another member of the group was shared by that one.
    with contextlib.suppress(PermissionError):
        if (owner, group) != (found.st_uid, found.st_gid):
            os.chown(place, owner, group)
        if stat.S_IMODE(found.st_mode) != mode:
            os.chmod(place, mode)


def share_tree(top: Path, home: Path) -> None:
    """`share` for all files and folders below `top` and for itself, where that changes anything."""
    folder = os.stat(home)
    if is_shared(folder) or (os.geteuid() == 0 and folder.st_uid != 0):
        for path in (top, *top.rglob("*")):
            share(path, home)


def is_shared(folder: os.stat_result) -> bool:
    """Whether the home with this folder is shared with the folder's group."""
    return folder.st_mode & 0o070 == 0o070


def remove(path: Path) -> None:
    """Remove a file, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def reserve(path: Path, size: int) -> None:
    """Make a file of zeros that has its room on the disk. OSError, and no file, if there is none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except BaseException:
        remove(path)
        raise
    finally:
        os.close(descriptor)

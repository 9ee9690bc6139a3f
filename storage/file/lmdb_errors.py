"""Translation of LMDB's and the system's errors into our own. This is the only place that translates them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import lmdb

from ...actors.errors import HomeError, StoreCorrupt, StoreError, StoreFull
from .disk import DENIED_ERRNOS, FULL_ERRNOS, PATH_ERRNOS

_CORRUPT = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
    lmdb.IncompatibleError,
)

_LOCK_ERRNOS = frozenset({errno.EAGAIN, errno.ENOLCK, errno.EOPNOTSUPP})
_DISK_ERRNOS = frozenset({errno.EIO, errno.ENXIO, errno.ENODEV, errno.EUCLEAN, errno.ESTALE})


def errno_of(error: BaseException) -> int | None:
    """The system's error number of an LMDB or Python error; None if it has none."""
    number = getattr(error, "code", None) if isinstance(error, lmdb.Error) else getattr(error, "errno", None)
    # LMDB's own codes are negative.
    return number if isinstance(number, int) and number > 0 else None


def translate(error: BaseException, doing: str, path: object) -> StoreError | HomeError:
    """Our error for an error of LMDB or the system. The caller raises it `from` that error.

    `doing` completes "cannot ..."; `path` is the file or folder concerned.
    """
    number = errno_of(error)
    said = f"cannot {doing} {path}: {error}"
    if number in FULL_ERRNOS:
        return StoreFull(f"{said}. Free space on its file system, or raise the quota or limit, and try again")
    if number in DENIED_ERRNOS:
        return HomeError(f"{said}. Make it writable for this user, or use another home", home=str(path))
    if number in PATH_ERRNOS:
        return HomeError(f"{said}. Choose another path", home=str(path))
    if number == errno.ENOMEM:
        advice = "The store's map needs address space of its file's size: raise the limit (ulimit -v), then start again"
        return StoreError(f"{said}. {advice}")
    if number in _LOCK_ERRNOS or (number == errno.EINVAL and isinstance(error, OSError)):
        advice = "Its file system or this kernel refuses locks of open files; use a home on a local disk"
        return StoreError(f"{said}. {advice}")
    if isinstance(error, _CORRUPT):
        advice = "Run `understudy check`, and restore the last backup if it finds damage"
        return StoreCorrupt(f"{said}. The store is damaged. {advice}", problems=[str(error)])
    if isinstance(error, lmdb.TxnFullError):
        return StoreError(f"{said}. Too much was written at once; write smaller values or fewer of them")
    if number in _DISK_ERRNOS:
        return StoreError(f"{said}. See the system log for errors of this disk, then start again")
    return StoreError(f"{said}. Start again; if that does not help, please report this")


@contextmanager
def translated(doing: str, path: object) -> Iterator[None]:
    """Raise our error for an error of LMDB or the system inside the block; see `translate`."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise translate(error, doing, path) from error

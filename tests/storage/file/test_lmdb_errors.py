from __future__ import annotations

import errno

import lmdb
import pytest

from understudy.actors.errors import HomeError, StoreCorrupt, StoreError, StoreFull
from understudy.storage.file.lmdb_errors import errno_of, translate


def lmdb_error(number: int) -> lmdb.Error:
    error = lmdb.Error("mdb_txn_commit: it said so")
    error.code = number  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (lmdb_error(errno.ENOSPC), StoreFull),
        (lmdb_error(errno.EDQUOT), StoreFull),
        (OSError(errno.EFBIG, "File too large"), StoreFull),
        (OSError(errno.ENOSPC, "No space left on device"), StoreFull),
        (OSError(errno.EACCES, "Permission denied"), HomeError),
        (lmdb_error(errno.EROFS), HomeError),
        (lmdb.CorruptedError("mdb_get"), StoreCorrupt),
        (lmdb.PageNotFoundError("mdb_get"), StoreCorrupt),
        (lmdb.InvalidError("mdb_env_open"), StoreCorrupt),
        (OSError(errno.ENOLCK, "No locks available"), StoreError),
        (OSError(errno.EMFILE, "Too many open files"), StoreError),
        (lmdb.TxnFullError("mdb_put"), StoreError),
        (lmdb_error(errno.EIO), StoreError),
    ],
    ids=str,
)
def test_each_error_becomes_one_of_ours_that_says_what_and_what_to_do(error: Exception, kind: type):
    ours = translate(error, "write", "/home/store.mdb")
    assert type(ours) is kind
    assert str(ours).startswith("cannot write /home/store.mdb: ")
    assert str(error) in str(ours)
    assert len(str(ours)) > len(f"cannot write /home/store.mdb: {error}. ")


@pytest.mark.parametrize(
    ("number", "blamed"),
    [(errno.EIO, True), (errno.EAGAIN, False), (errno.ENOLCK, False), (errno.EMFILE, False)],
)
def test_only_an_error_of_the_disk_is_blamed_on_the_disk(number: int, blamed: bool):
    assert ("errors of this disk" in str(translate(lmdb_error(number), "read", "x"))) is blamed


def test_lmdbs_own_numbers_are_not_the_systems():
    assert errno_of(lmdb_error(-30798)) is None
    assert errno_of(lmdb_error(errno.EIO)) == errno.EIO
    assert errno_of(OSError(errno.EIO, "x")) == errno.EIO
    assert errno_of(ValueError()) is None

"""The names of a store's files in its home folder, and its unfinished files, the drafts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .disk import open_in_home, remove
from .locks import lock_draft


def store_file(home: Path) -> Path:
    """The data: one LMDB file."""
    return home / "store.mdb"


def lock_file(home: Path) -> Path:
    """LMDB's table of readers, in which the writer's own transactions stand. No other process opens it."""
    return home / "store.mdb-lock"


def voucher_file(home: Path) -> Path:
    """Identifies the data file that was checked and found sound; see `page_check`."""
    return home / "store.voucher"


@contextmanager
def draft(home: Path, purpose: str) -> Iterator[Path]:
    """A new file, which is removed at the end of the block unless it was renamed.

    It is locked meanwhile. Its name is unique, also among processes with the same pid in several containers.
    """
    while True:
        path = home / f"store.{purpose}.{os.urandom(4).hex()}.draft"
        descriptor = open_in_home(path, os.O_RDWR | os.O_EXCL)
        if lock_draft(descriptor) and os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # `remove_drafts` came in between
    try:
        yield path
    finally:
        remove(path)
        os.close(descriptor)


def remove_drafts(home: Path) -> None:
    """Remove the drafts that dead processes have left."""
    for path in home.glob("store.*.draft"):
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                if lock_draft(descriptor):
                    remove(path)
            finally:
                os.close(descriptor)

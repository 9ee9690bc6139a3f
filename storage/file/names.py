"""The files of a store in its home folder, and how each of them comes to be there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .disk import remove

GATE_TIMEOUT: Final = 5.0
"""Seconds that a swap waits for those who are opening the files."""


def store_file(home: Path) -> Path:
    """The data: one LMDB file."""
    return home / "store.mdb"


def lock_file(home: Path) -> Path:
    """LMDB's table of readers; LMDB names it after the data file and makes it anew when it is missing."""
    return home / "store.mdb-lock"


def gate_file(home: Path) -> Path:
    """Locked while an environment is opened from, or swapped in, this home; see `gate`."""
    return home / "store.gate"


def voucher_file(home: Path) -> Path:
    """Names the data file that was walked through and found sound; see `pages`."""
    return home / "store.voucher"


def draft_file(home: Path, purpose: str) -> Path:
    """A file in the making; what a process that died left of it is removed at the next open.

    The name has the pid so that a backup and a check may run at once.
    """
    return home / f"store.{purpose}.{os.getpid()}.draft"


def remove_drafts(home: Path) -> None:
    """Remove what processes that are gone left in the making."""
    for path in home.glob("store.*.draft"):
        pid = path.name.split(".")[-2]
        if not pid.isdigit() or int(pid) == os.getpid() or not Path("/proc", pid).exists():
            remove(path)


@contextmanager
def gate(home: Path, *, alone: bool) -> Iterator[None]:
    """Keep the data file and the lock file a pair while one is opened (`alone=False`) or swapped (`alone=True`).

    LMDB's lock file remembers the number of the last transaction, which picks one of the data file's two meta pages.
    An old lock file beside a new data file would pick the wrong one, and with it lose the data. Nobody may open the
    two while they are being swapped; who has them open already keeps the old pair and notices later.

    Opening waits for a swap, which takes milliseconds. A swap waits for at most PATIENCE seconds and then raises
    TimeoutError: a process that was stopped while it opened must not stop the writer.
    """
    try:
        descriptor = os.open(gate_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if alone:
            raise
        # A home on a read-only medium: nobody can swap anything there.
        yield
        return
    try:
        if alone:
            _lock_alone(descriptor)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _lock_alone(descriptor: int) -> None:
    deadline = time.monotonic() + GATE_TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"another process has been opening the store for {GATE_TIMEOUT:g} s"
                ) from error
            time.sleep(0.001)

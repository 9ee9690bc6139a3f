"""The names of a store's files in its home folder, the drafts, and the gate for opening and swapping."""

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
"""Seconds that a swap waits for processes that are opening the files."""


def store_file(home: Path) -> Path:
    """The data: one LMDB file."""
    return home / "store.mdb"


def lock_file(home: Path) -> Path:
    """LMDB's table of readers. LMDB names it after the data file and makes it if it is missing."""
    return home / "store.mdb-lock"


def gate_file(home: Path) -> Path:
    """Locked while an environment is opened from, or swapped in, this home; see `gate`."""
    return home / "store.gate"


def voucher_file(home: Path) -> Path:
    """Identifies the data file that was checked and found sound; see `page_check`."""
    return home / "store.voucher"


def draft_file(home: Path, purpose: str) -> Path:
    """An unfinished file. The next open removes a draft of a dead process.

    The name contains the pid, so that a backup and a check may run at the same time.
    """
    return home / f"store.{purpose}.{os.getpid()}.draft"


def remove_drafts(home: Path) -> None:
    """Remove the drafts of dead processes, and those of this one."""
    for path in home.glob("store.*.draft"):
        pid = path.name.split(".")[-2]
        if not pid.isdigit() or int(pid) == os.getpid() or not Path("/proc", pid).exists():
            remove(path)


@contextmanager
def gate(home: Path, *, alone: bool) -> Iterator[None]:
    """Keep the data file and the lock file a pair during an opening (`alone=False`) or a swap (`alone=True`).

    LMDB's lock file remembers the number of the last transaction, which picks one of the data file's two meta
    pages. An old lock file next to a new data file would pick the wrong one and lose data. So the two cannot
    be opened while they are being swapped. A process that has them open keeps the old pair and notices the
    swap later.

    Opening waits for a swap, which takes milliseconds. A swap waits for at most GATE_TIMEOUT seconds and then
    raises TimeoutError, so that a process stopped during its opening cannot stop the writer.
    """
    try:
        descriptor = os.open(gate_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        if alone:
            raise
        # The home is on a read-only medium, where no swap can happen.
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

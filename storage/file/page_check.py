"""Whether the pages of a store may be trusted, found out before LMDB is let near them.

LMDB maps the file and follows it without looking: a page that is not what it should be ends the process by an assertion
or a signal, and with it the supervisor, or the user's program that only wanted to read. So nobody opens a file that
has not been walked through byte by byte since it came to this machine's memory. To walk costs seconds for each GiB, so
that a large file is walked once and then vouched for, by what it is (device and inode) and since when nothing but this
system's own memory came between its writer and its readers (the boot). A copy, a restored backup and a file from before
a reboot or a power cut are other files by that. A small one is walked each time.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from lmdb import verify

from .names import voucher_file

ALWAYS_WALKED: Final = 32 << 20
"""Bytes up to which a file is walked at each opening: at most half a second."""

CLAIM_PATIENCE: Final = 1.0
"""Seconds that a writer waits for those who are just looking whether there is one."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def problems_of(path: Path) -> list[str]:
    """What is wrong with the pages of a file that nobody writes, a line for each; empty for a sound one."""
    try:
        return [
            str(problem)
            for problem in verify.verify(str(path))  # type: ignore[no-untyped-call] # lmdb ships no types for it
        ]
    except verify.VerifyError as error:
        return [str(error)]


def vouched_for(path: Path) -> bool:
    """Whether this very file was found sound since the machine was started, and is too large to be walked again."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
        voucher = voucher_file(path.parent).read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return found.st_size > ALWAYS_WALKED and voucher == _identity(found)


def vouch(path: Path, *, written: bool = False) -> None:
    """This file was made or walked by us, and found sound. Noted of a small one only if it is about to be `written` by
    us, by which it may grow large."""
    # Where it cannot be written, the next one to open the file walks it again.
    with suppress(OSError):
        found = os.stat(path)
        if found.st_size <= ALWAYS_WALKED and not written:
            return
        voucher = voucher_file(path.parent)
        draft = voucher.with_name(f"{voucher.name}.{os.getpid()}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, _identity(found).encode("ascii"))
        finally:
            os.close(descriptor)
        draft.replace(voucher)


def _identity(found: os.stat_result) -> str:
    return f"{found.st_dev} {found.st_ino} {_BOOT.read_text(encoding='ascii').strip()}\n"


def claim(path: Path) -> int:
    """Tell those who look that this process writes the file, for as long as the descriptor returned is open."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    deadline = time.monotonic() + CLAIM_PATIENCE
    while not _locked(descriptor, fcntl.LOCK_EX) and time.monotonic() < deadline:
        # Who looks holds it for microseconds. It is no more than a hint, so that after a while we go without.
        time.sleep(0.001)
    return descriptor


def claimed(path: Path) -> bool:
    """Whether a living process writes the file: it has seen to the pages before."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _locked(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without such locks: then nobody can tell
    return True

"""The check of a store's pages, made before LMDB opens the file.

LMDB maps the file and trusts its pages. A damaged page ends the process by an assertion or a signal, be it
the supervisor or a user's program that only reads. So a file is opened only after all its bytes were checked
on this boot. The check takes seconds for each GiB. So a large file (more than ALWAYS_WALKED) is checked once,
and a voucher file notes its device, its inode and the boot id. On one boot, only this system's memory lies
between the file's writer and its readers. A copy, a restored backup and a file from before a reboot or power
cut do not match the voucher, so they are checked again. A small file is checked at each opening.
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
"""Bytes up to which a file is checked at each opening; that takes at most half a second."""

CLAIM_PATIENCE: Final = 1.0
"""Seconds that a writer waits for the locks of processes that are checking for a writer."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def problems_of(path: Path) -> list[str]:
    """The problems in the pages of a file without a writer, one line each; empty for a sound file."""
    try:
        return [
            str(problem)
            for problem in verify.verify(str(path))  # type: ignore[no-untyped-call] # lmdb ships no types for it
        ]
    except verify.VerifyError as error:
        return [str(error)]


def vouched_for(path: Path) -> bool:
    """Whether this file was found sound on this boot, and is too large to be checked again."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
        voucher = voucher_file(path.parent).read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return found.st_size > ALWAYS_WALKED and voucher == _identity(found)


def vouch(path: Path, *, written: bool = False) -> None:
    """Note that this process made or checked the file, and that it is sound.

    A small file is noted only if this process is about to write it (`written`), and it may grow large.
    """
    # If the voucher cannot be written, the next process to open the file checks it again.
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
    """Mark the file as written by this process for as long as the returned descriptor is open."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    deadline = time.monotonic() + CLAIM_PATIENCE
    while not _locked(descriptor, fcntl.LOCK_EX) and time.monotonic() < deadline:
        # Processes that look hold the lock for microseconds. The claim is only a hint, so it may fail.
        time.sleep(0.001)
    return descriptor


def claimed(path: Path) -> bool:
    """Whether a living process writes the file; it has checked the pages before."""
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
        return True  # a file system without such locks, where claims are not visible
    return True

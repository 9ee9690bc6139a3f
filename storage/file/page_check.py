"""The check of a store's pages, made before LMDB opens the file.

LMDB maps the file and trusts its pages. A damaged page ends the process by an assertion or a signal, be it
the supervisor or a user's program that only reads. So a file is opened only after all its bytes were checked
on this boot. The check takes seconds for each GiB. So a large file (more than ALWAYS_WALKED) is checked once,
and a voucher file notes its device, its inode and the boot id. On one boot, only this system's memory lies
between the file's writer and its readers. A copy, a restored backup and a file from before a reboot or power
cut do not match the voucher, so they are checked again. A small file is checked at each opening.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from lmdb import verify

from .names import draft, voucher_file

ALWAYS_WALKED: Final = 32 << 20
"""Bytes up to which a file is checked at each opening; that takes at most half a second."""

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
        with draft(path.parent, "voucher") as written_first:
            written_first.write_text(_identity(found), encoding="ascii")
            written_first.replace(voucher_file(path.parent))


def _identity(found: os.stat_result) -> str:
    return f"{found.st_dev} {found.st_ino} {_BOOT.read_text(encoding='ascii').strip()}\n"

"""The standard streams of a process that was started without them, or whose reader has gone."""

from __future__ import annotations

import os
import sys
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def open_missing_streams() -> None:
    """Give each missing stream the null device: `>&-` and some service managers start programs without them.

    Otherwise the next file or socket would get its number, and what a child prints there.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDWR)
        if null != number and not _is_open(number):
            os.dup2(null, number)
        setattr(sys, name, os.fdopen(null, mode, encoding="utf-8", errors="backslashreplace"))


def drop_output() -> None:
    """Let stdout go to the null device: its reader is gone, and the interpreter's last flush must not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

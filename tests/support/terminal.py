"""Reads what a program writes to a pseudo-terminal."""

from __future__ import annotations

import os
import select


def read_until(fd: int, wanted: bytes) -> bytes:
    """What comes until these bytes are in it, or until the other end is closed."""
    seen = b""
    while wanted not in seen:
        assert select.select([fd], [], [], 10)[0], seen
        try:
            seen += os.read(fd, 65536)
        except OSError:
            break
    return seen

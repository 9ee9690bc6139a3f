"""The row that says when supervisors of the home have started, and with which code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgpack

STARTS_ROW: Final = b"starts"
"""Its key in the table `meta`."""

KEPT: Final = 500
"""Starts that are kept; the oldest go first."""


@dataclass(frozen=True, slots=True)
class Start:
    """A supervisor had loaded the app."""

    time: float
    """Seconds since the epoch."""
    code: str
    """A digest of the app's code."""
    is_deploy: bool = False
    """Whether the start before had other code. The first one of a home is none."""


def pack_starts(starts: Sequence[Start]) -> bytes:
    """The row of these starts, oldest first."""
    packed: bytes = msgpack.packb([(start.time, start.code) for start in starts[-KEPT:]])
    return packed


def unpack_starts(row: bytes) -> list[Start]:
    """The starts in a row, oldest first; ValueError for a damaged one."""
    try:
        pairs = [(float(time), str(code)) for time, code in msgpack.unpackb(row)]
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not the starts of supervisors: {error}") from error
    before = [None, *(code for _, code in pairs)]
    return [
        Start(time, code, last is not None and last != code)
        for (time, code), last in zip(pairs, before, strict=False)
    ]

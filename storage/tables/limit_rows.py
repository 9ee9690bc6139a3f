"""The rows of limits, in the table of class actors.

================== =======================================================================
key                value
================== =======================================================================
08, 00, name       the numbers that a program has set: msgpack of [concurrency, rate]
08, 01, sort (8)   the window of a rate: msgpack of [name, key, let in, [time, …], origin, ahead, per]
================== =======================================================================

`let in` is the number of attempts that may have begun since the row was written. Times are seconds since the epoch, by
the wall clock as it was then: `ahead` seconds more than the monotonic clock that counts from `origin`. They count for
`per` seconds. Rows of earlier releases end before these three. A rate is [count, seconds].
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import msgpack

#: The first byte of the key: what the row is.
LIMIT: Final = b"\x08"
SET: Final = LIMIT + b"\x00"
WINDOW: Final = LIMIT + b"\x01"

_WINDOW_KEY_BYTES: Final = len(WINDOW) + 8


class WindowRow(NamedTuple):
    """What counts for the rate of one key."""

    name: str
    key: str | None
    let_in: int
    times: list[float]
    origin: str = ""
    ahead: float = 0.0
    per: float = 0.0


Numbers = tuple[int | None, tuple[int, float] | None]
"""Concurrency and rate."""


def gate_sort(name: str, key: str | None) -> int:
    """The sort in the lane GATE of the tasks that wait at this limit under this key; add their `ready_sort`."""
    text = f"{name}\0{key}" if key is not None else name
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=7).digest()
    return int.from_bytes(digest, "big") << 8


def set_key(name: str) -> bytes:
    """The row of the numbers that were set of a limit."""
    return SET + name.encode()


def set_name(key: bytes) -> str:
    """The name in such a key."""
    return key[len(SET) :].decode()


def pack_set(numbers: Numbers) -> bytes:
    """The value of such a row."""
    packed: bytes = msgpack.packb(numbers)
    return packed


def unpack_set(row: bytes) -> Numbers:
    """The inverse of `pack_set`; ValueError for bytes that are none."""
    concurrency, rate = _unpacked(row, 2)
    if not (type(concurrency) in (int, type(None)) and (rate is None or len(rate) == 2)):
        raise ValueError("not the numbers of a limit")
    return concurrency, None if rate is None else (int(rate[0]), float(rate[1]))


def window_key(sort: int) -> bytes:
    """The row of the window of a rate, by the sort of its tasks."""
    return WINDOW + sort.to_bytes(8, "big")


def pack_window(window: WindowRow) -> bytes:
    """The value of such a row."""
    packed: bytes = msgpack.packb(window)
    return packed


def unpack_window(row: bytes) -> WindowRow:
    """The inverse of `pack_window`; ValueError for bytes that are none."""
    name, key, let_in, times, *clock = _unpacked(row, 4, 7)
    if type(name) is not str or type(let_in) is not int or not all(type(at) is float for at in times):
        raise ValueError("not the window of a rate")
    if clock and [type(field) for field in clock] != [str, float, float]:
        raise ValueError("not the window of a rate")
    return WindowRow(name, key, let_in, times, *clock)


def check_row(key: bytes, row: bytes) -> None:
    """ValueError if this is no row of a limit."""
    if key.startswith(SET):
        set_name(key)
        unpack_set(row)
    elif key.startswith(WINDOW) and len(key) == _WINDOW_KEY_BYTES:
        window = unpack_window(row)
        if window_key(gate_sort(window.name, window.key)) != key:
            raise ValueError("the key is that of another limit")
    else:
        raise ValueError("the key is malformed")


def _unpacked(row: bytes, *items: int) -> list[Any]:
    try:
        found = msgpack.unpackb(row)
    except (ValueError, msgpack.UnpackException) as error:
        raise ValueError(f"not a row of a limit: {error}") from error
    if not isinstance(found, list) or len(found) not in items:
        raise ValueError("not a row of a limit")
    return found

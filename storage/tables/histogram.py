"""Histograms of times: how many lay in each bucket. Pure.

A bucket is what floats have in common whose sign, exponent and first four bits of the mantissa are equal: the upper 16
bits. A bucket is at most 1/16 wider than its lower bound, so its middle is at most 3.1 % from any time in it. There is
no smallest or largest time.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

Counted = Counter[int]
"""How many times there are, by the bucket."""

_UPPER: Final = 3 if sys.byteorder == "little" else 0
_NEGATIVE: Final = 0x8000  # such times come from a clock that was set back, and count as 0


def buckets_of(times: list[float]) -> list[int]:
    """The bucket of each time in seconds."""
    if not times:
        return []
    # All of it is done in C, because it is done for each task.
    halves = memoryview(array("d", times)).cast("B").cast("H")
    return halves[_UPPER::4].tolist()


def pack(counted: Counted) -> tuple[bytes, bytes]:
    """The buckets and the numbers of a histogram, in this machine's byte order, as LMDB's own."""
    # Several times as fast as msgpack, and every commit packs two.
    return array("H", counted).tobytes(), array("I", counted.values()).tobytes()


def unpack(buckets: bytes, numbers: bytes) -> Counted:
    """The histogram of these bytes; ValueError."""
    of, many = array("H", buckets), array("I", numbers)
    if len(of) != len(many):
        raise ValueError("a histogram with more buckets than numbers, or less")
    return Counter(dict(zip(of, many, strict=True)))


def middle(bucket: int) -> float:
    """The time that stands for those in a bucket: the relative error is equal at both ends."""
    if bucket == 0 or bucket >= _NEGATIVE:
        return 0.0
    lower, upper = _lower(bucket), _lower(bucket + 1)
    return 2 * lower * (upper / (lower + upper))


def quantiles(counted: Mapping[int, int], parts: Iterable[float]) -> list[float | None]:
    """For each part, from 0 to 1, the time that this part of all times does not exceed; None if there are no times."""
    total = sum(counted.values())
    if not total:
        return [None for _ in parts]
    ordered = sorted((middle(bucket), number) for bucket, number in counted.items())
    return [_at(ordered, max(1, math.ceil(part * total))) for part in parts]


def _at(ordered: list[tuple[float, int]], rank: int) -> float:
    for time, number in ordered:
        rank -= number
        if rank <= 0:
            return time
    return ordered[-1][0]


def _lower(bucket: int) -> float:
    return float(struct.unpack(">d", struct.pack(">H6x", bucket))[0])

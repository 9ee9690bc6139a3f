"""Rows that count what was pruned, so that counters which are made of what is there never go back.

They are in the table `meta`, and each has a msgpack list of numbers.

====================== =============================================
key                    numbers
====================== =============================================
b"removed/events"      events
b"removed/schedules"   runs that schedules had started, skips
====================== =============================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgpack

from .schema import Table

EVENTS: Final = b"removed/events"
SCHEDULES: Final = b"removed/schedules"


def add(store: Any, key: bytes, numbers: Sequence[int]) -> None:
    """Count more of what is removed in this batch. `store` is a `prune.Rows`."""
    if any(numbers):
        before = unpack(store.get(Table.META, key), len(numbers))
        sums = [one + two for one, two in zip(before, numbers, strict=True)]
        store.put(Table.META, key, msgpack.packb(sums))


def unpack(row: bytes | None, count: int) -> list[int]:
    """The numbers of a row; zeros for none, and for a damaged one."""
    try:
        numbers = [] if row is None else msgpack.unpackb(row)
        if len(numbers) == count and all(type(number) is int for number in numbers):
            return list(numbers)
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    return [0] * count

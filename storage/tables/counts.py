"""The table `counts`: how many tasks of each name are in each state.

A row for each name that has tasks: its key is a hash of the name, its value a msgpack array of the name and the numbers
by the state's code in a record. Each commit changes the rows of the names whose tasks it changes, so the numbers equal
the records of the same snapshot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Protocol

import msgpack

from ...actors.state import State
from .record import STATES
from .schema import Table

KEY_BYTES: Final = 16
"""Length of a key: two names never share one."""

Changed = Mapping[str, list[int]]
"""By name, how many tasks more or less there are, by the state's code."""


class Rows(Protocol):
    """The part of a store that changes of the counters need."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None: ...


def none_changed() -> list[int]:
    """The numbers by state of a name of which nothing is known yet."""
    return [0] * len(STATES)


@lru_cache(4096)  # each commit wants those of the same few names
def count_key(name: str) -> bytes:
    """The key of a name's row."""
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=KEY_BYTES).digest()


def pack_counts(name: str, counts: list[int]) -> bytes:
    """The value of a name's row."""
    packed: bytes = msgpack.packb([name.encode(errors="surrogatepass"), *counts])
    return packed


def unpack_counts(row: bytes) -> tuple[str, list[int]]:
    """The name and its numbers, by the state's code; ValueError for a damaged row."""
    try:
        name, *counts = msgpack.unpackb(row)
        if len(counts) > len(STATES) or set(map(type, counts)) - {int}:
            raise ValueError("numbers of the wrong kind")
        # An earlier release may have known fewer states.
        return name.decode(errors="surrogatepass"), counts + [0] * (len(STATES) - len(counts))
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a row of counters: {error}") from error


def by_state(counts: list[int]) -> dict[State, int]:
    """The numbers that are not 0, by state."""
    return {state: count for state, count in zip(STATES, counts, strict=True) if count}


def change(store: Rows, changed: Changed) -> None:
    """Add these differences to the rows."""
    for name, more in changed.items():
        if not any(more):
            continue
        key = count_key(name)
        row = store.get(Table.COUNTS, key)
        try:
            counts = none_changed() if row is None else unpack_counts(row)[1]
        except ValueError:
            counts = none_changed()  # damaged; `check` has found it
        counts = [count + by for count, by in zip(counts, more, strict=True)]
        if any(counts):
            store.put(Table.COUNTS, key, pack_counts(name, counts))
        else:
            store.delete(Table.COUNTS, key)

"""The table `index`: ids of tasks by what they have in common, newest last, many ids in one row.

A *facet* is something that tasks have in common: a name, a name with a final state, a stream. A row's key is its facet
and the newest of its ids. Its value is the others, oldest first. They are stored whole, because cutting an id takes
longer than writing it. All ids of a row have their first BUCKET_BYTES bytes in common: they were made within about a
minute. So the rows that may hold an id are those of its minute with a key not below it, and a walk from the end gives
the ids of a facet in their order.

A commit adds one row for each facet (and minute, and IDS_IN_ROW ids), because a row for each task would cost as much as
the task's own row. The rows of errors and idempotency keys are *single*: one for each task, because errors change. An
empty value makes a row of one id, so both kinds are read alike.

An id stands in a facet at most once.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Iterator
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol

from .schema import ID_BYTES, Table, after_prefix

FACET_BYTES: Final = 9
"""Length of a facet: its kind, and eight bytes of what the tasks have in common."""

KEY_BYTES: Final = FACET_BYTES + ID_BYTES
"""Length of a key."""

BUCKET_BYTES: Final = 4
"""Bytes that all ids of a row have in common. These are 65.5 seconds of a UUIDv7's time."""

_TIME_BYTES: Final = 6  # of a UUIDv7: milliseconds

IDS_IN_ROW: Final = 120
"""The most ids of a row. LMDB stores a value of that many on a page that it shares with others."""

_HIGHEST_TAIL: Final = b"\xff" * (ID_BYTES - BUCKET_BYTES)
_PART: Final = 16  # rows read at a time while an id is looked for


class Facet(IntEnum):
    """First byte of a key: the kind of its facet."""

    #: All tasks of a name.
    NAME = 1
    #: Tasks that have ended, by name and state.
    END = 2
    #: Tasks of another task's stream.
    STREAM = 3
    #: Tasks that a task has started.
    ORIGIN = 4
    #: Single: tasks with an error, by its type.
    ERROR = 5
    #: Single: tasks with an idempotency key.
    KEY = 6
    #: Tasks of a kind other than the usual one.
    KIND = 7
    #: Runs, by the event or the schedule that triggered them.
    TRIGGER = 8
    #: Single: tasks that have been retried.
    RETRIED = 9
    #: Single: tasks that retry another one, by that one.
    RETRY_OF = 10


_KIND_BYTES: Final = tuple(bytes((kind,)) for kind in range(max(Facet) + 1))


class Changes(Protocol):
    """The part of a store that changes of the index need."""

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None: ...

    def look(self, table: Table, start: bytes, stop: bytes, *, limit: int) -> list[tuple[bytes, bytes]]: ...


@lru_cache(4096)  # each commit wants the facets of the same few names
def facet_of(kind: Facet, text: str, state: int = 0) -> bytes:
    """The facet of a text. Texts with the same hash share one, so compare what is found with the record."""
    data = b"%d:%s" % (state, text.encode(errors="surrogatepass"))
    return bytes((kind,)) + hashlib.blake2b(data, digest_size=FACET_BYTES - 1).digest()


def facet_of_id(kind: Facet, id: bytes) -> bytes:
    """The facet of a task's id: its time, so that rows of ids of the same time stand on the same pages, and two of its
    random bytes. As with texts, ids may share one."""
    return _KIND_BYTES[kind] + id[:_TIME_BYTES] + id[_TIME_BYTES + 1 - FACET_BYTES :]


def rows_of(facet: bytes, ids: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The rows that add these ids, which must be sorted, to a facet."""
    if len(ids) == 1:
        yield facet + ids[0], b""
        return
    first = 0
    while first < len(ids):
        end = min(first + IDS_IN_ROW, len(ids))
        end = bisect_right(ids, ids[first][:BUCKET_BYTES] + _HIGHEST_TAIL, first, end)
        yield facet + ids[end - 1], b"".join(ids[first : end - 1])
        first = end


def single(facet: bytes, id: bytes) -> bytes:
    """The key of a row that holds this id alone."""
    return facet + id


def newest_in(key: bytes) -> bytes:
    """The newest id of the row with this key."""
    return key[FACET_BYTES:]


def oldest_in(key: bytes, value: bytes) -> bytes:
    """The oldest id of a row."""
    return value[:ID_BYTES] or key[FACET_BYTES:]


def ids_in(key: bytes, value: bytes) -> list[bytes]:
    """The ids of a row, oldest first; ValueError for a damaged row."""
    if len(key) != KEY_BYTES or len(value) % ID_BYTES:
        raise ValueError(f"row {key.hex()} of the index is malformed")
    ids = [value[at : at + ID_BYTES] for at in range(0, len(value), ID_BYTES)]
    ids.append(key[FACET_BYTES:])
    return ids


def end_of_bucket(facet: bytes, id: bytes) -> bytes:
    """The smallest key above all rows of this facet that may hold this id."""
    return after_prefix(facet + id[:BUCKET_BYTES])


def remove(store: Changes, facet: bytes, ids: Collection[bytes]) -> None:
    """Take these ids out of the rows of a facet."""
    buckets: dict[bytes, set[bytes]] = {}
    for id in ids:
        buckets.setdefault(id[:BUCKET_BYTES], set()).add(id)
    for wanted in buckets.values():
        start, stop = facet + min(wanted), end_of_bucket(facet, min(wanted))
        while wanted and (rows := store.look(Table.INDEX, start, stop, limit=_PART)):
            for key, value in rows:
                _take_out(store, key, value, wanted)
            start = rows[-1][0] + b"\0"


def _take_out(store: Changes, key: bytes, value: bytes, wanted: set[bytes]) -> None:
    """Take those of these ids that the row holds out of it and out of `wanted`."""
    if oldest_in(key, value) > max(wanted, default=b""):
        return
    try:
        ids = ids_in(key, value)
    except ValueError:
        return  # damaged; `check` finds it
    left = [id for id in ids if id not in wanted]
    if len(left) == len(ids):
        return
    wanted.difference_update(ids)
    store.delete(Table.INDEX, key)
    for row in rows_of(key[:FACET_BYTES], left):
        store.put(Table.INDEX, *row)

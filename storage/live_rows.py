"""Reads of the table `live`, the tasks that have not ended, and of their records in one snapshot."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..actors.errors import StoreCorrupt
from .shared_view import Snapshot
from .tables.record import Record
from .tables.schema import ID_BYTES, Table, after_prefix, live_id, live_key, live_lane

T = TypeVar("T")


def keys_in(snapshot: Snapshot, lane: int) -> Iterator[bytes]:
    """The keys of a lane, in their order."""
    for key, _ in snapshot.rows(Table.LIVE, bytes((lane,)), bytes((lane + 1,))):
        yield key


def keys_by_age(
    snapshot: Snapshot,
    lane: int,
    after: bytes = b"",
    before: bytes | None = None,
    *,
    reverse: bool = False,
    sorts: Iterable[int] | None = None,
) -> Iterator[bytes]:
    """The keys of a lane with ids above `after` and below `before`, by id; from the last one down if `reverse`.

    With `sorts` only those that have one of them. The lane has few different sorts. The keys of one sort stand in the
    order of their ids, so no more of them are read than are taken.
    """
    prefixes = (
        sort_prefixes(snapshot, lane)
        if sorts is None
        else (live_key(lane, n, b"")[:-ID_BYTES] for n in sorts)
    )
    parts: list[Iterator[bytes]] = []
    for prefix in prefixes:
        end = after_prefix(prefix) if before is None else prefix + before
        rows = snapshot.rows(Table.LIVE, prefix + after + b"\0" if after else prefix, end, reverse=reverse)
        parts.append(key for key, _ in rows)
    return heapq.merge(*parts, key=live_id, reverse=reverse)


def sort_prefixes(snapshot: Snapshot, lane: int) -> Iterator[bytes]:
    """What the keys of a lane begin with, for each sort."""
    start, stop = bytes((lane,)), bytes((lane + 1,))
    while first := next(snapshot.rows(Table.LIVE, start, stop), None):
        yield first[0][:-ID_BYTES]
        start = after_prefix(first[0][:-ID_BYTES])


def record_of(snapshot: Snapshot, key: bytes) -> Record:
    """The record of a live row."""
    id = live_id(key)
    row = snapshot.get(Table.TASKS, id)
    if row is None:
        raise StoreCorrupt(
            f"live task {id.hex()} ({live_lane(key).name}) has no record; run `understudy check`"
        )
    return parsed(id, Record.unpack, id, row)


def parsed(id: bytes, parse: Callable[..., T], *row: bytes) -> T:
    """What `parse` makes of a task's row; StoreCorrupt names the task if that is damaged."""
    try:
        return parse(*row)
    except ValueError as error:
        raise StoreCorrupt(f"the record of task {id.hex()} is damaged; run `understudy check`") from error

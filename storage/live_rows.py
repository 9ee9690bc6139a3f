"""Reads of the table `live`, the tasks that have not ended, and of their records in one snapshot."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..actors.errors import StoreCorrupt
from .shared_view import Snapshot
from .tables.record import Record
from .tables.schema import ID_BYTES, Table, after_prefix, live_id, live_lane

T = TypeVar("T")


def keys_in(snapshot: Snapshot, lane: int) -> Iterator[bytes]:
    """The keys of a lane, in their order."""
    for key, _ in snapshot.rows(Table.LIVE, bytes((lane,)), bytes((lane + 1,))):
        yield key


def keys_by_age(
    snapshot: Snapshot, lane: int, after: bytes = b"", before: bytes | None = None, *, reverse: bool = False
) -> Iterator[bytes]:
    """The keys of a lane with ids above `after` and below `before`, by id; from the last one down if `reverse`.

    The lane has few different sorts. The keys of one sort stand in the order of their ids, so no more of them are read
    than are taken.
    """
    start, stop = bytes((lane,)), bytes((lane + 1,))
    parts: list[Iterator[bytes]] = []
    while first := next(snapshot.rows(Table.LIVE, start, stop), None):
        sort = first[0][:-ID_BYTES]
        start = after_prefix(sort)
        end = start if before is None else sort + before
        rows = snapshot.rows(Table.LIVE, sort + after + b"\0" if after else sort, end, reverse=reverse)
        parts.append(key for key, _ in rows)
    return heapq.merge(*parts, key=live_id, reverse=reverse)


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

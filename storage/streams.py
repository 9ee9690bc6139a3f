"""Streams: those to which something was added last, page by page.

A stream is listed if an event is in it or a task that another task or event has started. A task alone is none.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .live_rows import parsed
from .search import SECONDS
from .shared_view import Snapshot
from .tables.event_rows import EVENT, EventRow, events_of_stream, stream_key, uid_of
from .tables.index_rows import Facet, facet_of_id
from .tables.record import Record
from .tables.schema import Table, after_prefix

#: Tasks and events between two looks at the clock.
_STEP: Final = 64


@dataclass(slots=True)
class StreamRows:
    """The streams of one page, and where it stopped."""

    #: (stream, id of the newest task or event in it).
    streams: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: The next page goes on below this id; None: there is no more.
    last: bytes | None = None
    #: Whether it stopped because its time was over.
    stopped: bool = False


def newest_streams(
    snapshot: Snapshot,
    *,
    limit: int | None,
    before: bytes | None = None,
    seconds: float | None = SECONDS,
) -> StreamRows:
    """The streams whose newest task or event has an id below `before`, at most `limit`, newest first."""
    page = StreamRows()
    seen: set[bytes] = set()
    began = time.monotonic()
    members = heapq.merge(_tasks(snapshot, before), _events(snapshot, before), reverse=True)
    for looked, (id, stream) in enumerate(members, 1):
        if stream is not None and stream not in seen:
            seen.add(stream)
            if before is None or not _reaches(snapshot, stream, before):
                page.streams.append((stream, id))
            if len(page.streams) == limit:
                page.last = id
                return page
        if seconds is not None and looked % _STEP == 0 and time.monotonic() - began > seconds:
            page.last, page.stopped = id, True
            return page
    return page


def _reaches(snapshot: Snapshot, stream: bytes, id: bytes) -> bool:
    """Whether a task or an event of the stream has this id or a later one."""
    facet = facet_of_id(Facet.STREAM, stream)
    _, stop = events_of_stream(stream)
    later = (
        (Table.INDEX, facet + id, after_prefix(facet)),
        (Table.EVENTS, stream_key(stream, id), stop),
    )
    return stream >= id or any(next(snapshot.rows(*rows), None) for rows in later)


def _tasks(snapshot: Snapshot, before: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
    """Tasks, newest first, each with its stream; None for one that may be alone in it."""
    for id, row in snapshot.rows(Table.TASKS, b"", before, reverse=True):
        stream = parsed(id, Record.unpack, id, row).stream
        yield id, None if stream == id else stream


def _events(snapshot: Snapshot, before: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
    stop = after_prefix(EVENT) if before is None else EVENT + before
    for key, row in snapshot.rows(Table.EVENTS, EVENT, stop, reverse=True):
        uid = uid_of(key)
        yield uid, parsed(uid, EventRow.unpack, row).stream

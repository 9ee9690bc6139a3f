"""EventReader: the part of `Reader` that reads the rows of events."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ..actors.errors import EventNotFound, InvalidValue, StoreCorrupt
from ..actors.events.pattern import ONE, PatternMap
from ..actors.ids import id_bytes
from .search import SECONDS
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .tables import event_rows
from .tables.event_rows import EVENT, UNMATCHED, EventRow
from .tables.schema import Table, after_prefix

#: Names that fit a pattern of which one search reads the events side by side. For more of them all events are read.
MOST_NAMES: Final = 500

#: Events between two looks at the clock.
_STEP: Final = 64


@dataclass(slots=True)
class EventRows:
    """The events of one page, and where it stopped."""

    rows: list[EventRow] = field(default_factory=list)
    #: The next page goes on below this uid; None: there is no more.
    last: bytes | None = None
    #: Whether it stopped because its time was over.
    stopped: bool = False


class EventReader(SnapshotReader):
    """Reads of events. Each answer comes from one snapshot; a damaged row raises StoreCorrupt, which names it."""

    def event(self, id: str) -> EventRow | None:
        """The event with this id; None if there is none."""
        with self._read() as snapshot:
            uid = _uid(snapshot, id)
            return None if uid is None else _event(snapshot, uid)

    def events(
        self,
        pattern: str | None = None,
        *,
        unmatched: bool = False,
        limit: int | None = 100,
        before: str | None = None,
        seconds: float | None = SECONDS,
    ) -> EventRows:
        """At most `limit` events whose names match a valid pattern, newest first, older than the event `before`.

        With `unmatched`, only those that nothing handled and nobody listened to. It stops after `seconds`; None: when
        it has looked at all of them. EventNotFound if there is no event `before`.
        """
        page = EventRows()
        if limit is not None and limit <= 0:
            return page
        began = time.monotonic()
        names = PatternMap([(pattern, True)]) if pattern is not None else None
        with self._read() as snapshot:
            end = None if before is None else _uid(snapshot, before)
            if before is not None and end is None:
                raise EventNotFound(f"no event has the id {before!r:.80}; it may have been pruned", before)
            for looked, uid in enumerate(_uids(snapshot, pattern, unmatched, end), 1):
                event = _event(snapshot, uid)
                if event is not None and (names is None or names.match(event.name)):
                    page.rows.append(event)
                    if len(page.rows) == limit:
                        page.last = uid
                        return page
                if seconds is not None and looked % _STEP == 0 and time.monotonic() - began > seconds:
                    page.last, page.stopped = uid, True
                    return page
        return page

    def stream_events(self, stream: bytes, most: int | None = None) -> list[EventRow]:
        """The oldest events of a stream, at most so many, oldest first."""
        with self._read() as snapshot:
            keys = snapshot.rows(Table.EVENTS, *event_rows.events_of_stream(stream))
            uids = [stream, *(event_rows.uid_of(key) for key, _ in islice(keys, most))]
            events = (event for uid in uids if (event := _event(snapshot, uid)) is not None)
            return list(islice(events, most))


def _uids(snapshot: Snapshot, pattern: str | None, unmatched: bool, end: bytes | None) -> Iterator[bytes]:
    """The events from an index that has all that match, and maybe others; newest first, below `end`."""
    if unmatched:
        return _uids_in(snapshot, (UNMATCHED, after_prefix(UNMATCHED)), end)
    names = None if pattern is None else _names(snapshot, pattern)
    if names is None:
        return _uids_in(snapshot, (EVENT, after_prefix(EVENT)), end)
    sources = [_uids_in(snapshot, event_rows.events_of_name(name), end) for name in names]
    return sources[0] if len(sources) == 1 else heapq.merge(*sources, reverse=True)


def _uids_in(snapshot: Snapshot, keys: event_rows.Range, end: bytes | None) -> Iterator[bytes]:
    start, stop = keys
    for key, _ in snapshot.rows(Table.EVENTS, start, stop if end is None else start + end, reverse=True):
        yield event_rows.uid_of(key)


def _names(snapshot: Snapshot, pattern: str) -> list[str] | None:
    """The names of stored events that match; None if they are too many."""
    if ONE not in pattern:
        return [pattern]
    fitting = PatternMap([(pattern, True)])
    found: list[str] = []
    start, stop = event_rows.names_from(pattern.partition(ONE)[0].removesuffix("."))
    for _ in range(MOST_NAMES):
        key, _row = next(snapshot.rows(Table.EVENTS, start, stop), (None, b""))
        if key is None:
            return found
        name = event_rows.name_in(key)
        if fitting.match(name):
            found.append(name)
        start = event_rows.events_of_name(name)[1]
    return None


def _uid(snapshot: Snapshot, id: str) -> bytes | None:
    if id.isascii() and len(id) < 256:
        uid = snapshot.get(Table.EVENTS, event_rows.given_key(id))
        if uid is not None:
            return uid
    with suppress(InvalidValue):
        return id_bytes(id)
    return None


def _event(snapshot: Snapshot, uid: bytes) -> EventRow | None:
    row = snapshot.get(Table.EVENTS, event_rows.event_key(uid))
    try:
        return None if row is None else EventRow.unpack(row)
    except ValueError as error:
        raise StoreCorrupt(
            f"event {uid.hex()} is damaged; run `understudy check`", problems=[str(error)]
        ) from error

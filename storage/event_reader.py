"""EventReader: the part of `Reader` that reads the rows of events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from itertools import islice

from ..actors.errors import InvalidValue, StoreCorrupt
from ..actors.events.pattern import ONE, PatternMap
from ..actors.ids import id_bytes
from .shared_view import Snapshot
from .tables import event_rows
from .tables.event_rows import EVENT, UNMATCHED, EventRow
from .tables.schema import Table, after_prefix


class EventReader:
    """Reads of events. Each answer comes from one snapshot; a damaged row raises StoreCorrupt, which names it."""

    def _read(self) -> AbstractContextManager[Snapshot]:
        raise NotImplementedError

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
    ) -> list[EventRow]:
        """At most `limit` events whose names match a valid pattern, newest first, older than the event `before`.

        With `unmatched`, only those that nothing handled and nobody listened to.
        """
        with self._read() as snapshot:
            end = None if before is None else _uid(snapshot, before)
            matching = (
                event
                for uid in _uids(snapshot, pattern, unmatched, end)
                if (event := _event(snapshot, uid)) is not None and _fits(event, pattern)
            )
            return list(islice(matching, limit))

    def stream_events(self, stream: bytes) -> list[EventRow]:
        """All events of a stream, oldest first."""
        with self._read() as snapshot:
            keys = snapshot.rows(Table.EVENTS, *event_rows.events_of_stream(stream))
            uids = [stream, *(event_rows.uid_of(key) for key, _ in keys)]
            return [event for uid in uids if (event := _event(snapshot, uid)) is not None]


def _uids(snapshot: Snapshot, pattern: str | None, unmatched: bool, end: bytes | None) -> Iterator[bytes]:
    """The events from an index that has all that match, and maybe others; newest first, below `end`."""
    if unmatched:
        start, stop = UNMATCHED, after_prefix(UNMATCHED)
    elif pattern is not None and ONE not in pattern:
        start, stop = event_rows.events_of_name(pattern)
    else:
        start, stop = EVENT, after_prefix(EVENT)
    if end is not None:
        stop = start + end
    for key, _ in snapshot.rows(Table.EVENTS, start, stop, reverse=True):
        yield event_rows.uid_of(key)


def _fits(event: EventRow, pattern: str | None) -> bool:
    return pattern is None or bool(PatternMap([(pattern, True)]).match(event.name))


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

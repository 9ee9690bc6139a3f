"""WatchSource: what a watch reads. The entries of one task or one stream, page by page, from any place on.

It keeps no place of its own, so any number of watchers may read from one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ...actors.clock import SYSTEM, Clock
from ...actors.errors import ErrorInfo, InvalidOption, TaskNotFound
from ...actors.events.entry import EntryKind, WatchEntry, cursor_numbers, cursor_text
from ...actors.ids import id_bytes, id_text
from ...actors.task.handles import IdLike, id_of
from ...storage.item_reader import PAGE_BYTES, Happened, Place, end_number, end_of
from ...storage.reader import Reader
from .event_calls import stream_in
from .views import view

if TYPE_CHECKING:
    from .start_rows import StreamLike

#: Tasks and events in the snapshot of a stream.
SNAPSHOT: Final = 1_000
_ALL_LINES: Final = 1 << 64

Order = tuple[int, int, int, int, int, bool]
"""A place as it is compared with others of its source."""


class SourcePage(NamedTuple):
    """The next entries of a source."""

    entries: list[WatchEntry]
    #: Behind each entry.
    places: list[Place]
    #: Behind all of them.
    place: Place
    #: Whether there was no more when it was read.
    at_tip: bool
    #: Whether nothing will follow: the watched task has ended.
    is_over: bool


class WatchSource:
    """All that a task or a stream does, in order. Thread-safe; no read transaction outlives a call."""

    def __init__(
        self, reader: Reader, stream: StreamLike | None, task: IdLike | None, clock: Clock = SYSTEM
    ) -> None:
        """Raises InvalidOption, TaskNotFound."""
        if (stream is None) == (task is None):
            raise InvalidOption("give watch either stream= or task=")
        self._reader = reader
        self._clock = clock
        self.task = None if task is None else id_of(task)
        #: The name of the watched task; None for a stream.
        self.name: str | None = None
        if self.task is not None:
            record = reader.record(self.task)
            if record is None:
                raise not_found(self.task)
            self.stream, self.name = record.stream, record.name
        else:
            assert stream is not None
            self.stream = id_bytes(stream)
        self._stream_text = id_text(self.stream)

    def place_of(self, cursor: str | None) -> Place:
        """The place that a cursor names; the beginning for None. Raises InvalidOption."""
        if cursor is None:
            return Place()
        item, mark, line, items, lines, ended = cursor_numbers(cursor, self.stream, len(Place._fields))
        if self.task is not None and ended != end_number(self.task):
            # It may come from the watch of another task of the stream.
            ended = 0
        return Place(item, mark, line, items, lines, ended)

    def cursor(self, place: Place) -> str:
        """The cursor that names a place."""
        return cursor_text(self.stream, place)

    def is_end(self, place: Place) -> bool:
        """Whether nothing follows this place."""
        return self.task is not None and place.ended == end_number(self.task)

    def order(self, place: Place) -> Order:
        """What is greater for a later place."""
        line = place.line or _ALL_LINES
        return place.item, place.mark, line, place.items, place.lines, place.ended != 0

    def newest(self) -> int:
        """The number of the newest commit; see `Reader.newest`."""
        return self._reader.newest()

    def page(self, after: Place, most_bytes: int = PAGE_BYTES) -> SourcePage:
        """The next entries behind a place. Raises TaskNotFound if the task was pruned."""
        page = self._reader.happened(self.stream, after, self.task, most_bytes)
        place, entries = page.place, page.entries
        if self.task is not None:
            if page.record is None and not entries:
                raise not_found(self.task)
            if not self.is_end(place) and page.at_tip and page.record is not None and page.record.terminal:
                # It has told nothing in its stream, so its end is in its record alone.
                place = place.behind_end(self.task)
                entries.append(end_of(page.record, place))
        places = [each.place for each in entries]
        return SourcePage(list(map(self._entry, entries)), places, place, page.at_tip, self.is_end(place))

    def snapshot(self, place: Place) -> WatchEntry:
        """How everything stands, as an entry that leaves a watch at this place. Raises TaskNotFound, EventNotFound."""
        cursor, now = self.cursor(place), self._clock.time()
        if self.task is None:
            tree = stream_in(self._reader, self.stream, SNAPSHOT)
            return WatchEntry("snapshot", cursor, now, self._stream_text, snapshot=tree)
        record = self._reader.record(self.task)
        if record is None:
            raise not_found(self.task)
        return WatchEntry(
            "snapshot",
            cursor,
            now,
            self._stream_text,
            id_text(self.task),
            record.attempt,
            record.interruptions,
            snapshot=view(record),
        )

    def _entry(self, happened: Happened) -> WatchEntry:
        kind, place, at, task, attempt, interruptions, name, packed, text, error, items, lines = happened
        what: EntryKind = kind  # type: ignore[assignment]  # the reader gives no others
        failed = None
        if error is not None:
            failed, text = ErrorInfo(error, text or ""), None
        return WatchEntry(
            what,
            self.cursor(place),
            at if kind != "notice" else self._clock.time(),
            self._stream_text,
            None if task is None else id_text(task),
            attempt,
            interruptions,
            place.item if kind == "item" else 0,
            name,
            packed,
            text,
            failed,
            items,
            lines,
        )


def not_found(task: bytes) -> TaskNotFound:
    """The error for a task that is not there."""
    return TaskNotFound(f"no task has the id {id_text(task)}; it may have been pruned", id_text(task))

"""ItemReader: the part of `Reader` that reads what tasks have published, with their lines of log, attempts and ends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgpack

from ..actors.errors import StoreCorrupt
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .tables.index_rows import Facet, facet_of_id, oldest_in
from .tables.item_rows import END, ITEM, LOG, TRY, Head, head_key, item_key, place_of, unpack_row
from .tables.record import Record
from .tables.schema import Table, after_prefix, log_key

#: Entries, and bytes of values, after which a page ends. A read transaction lasts no longer than a page.
PAGE_ENTRIES: Final = 1_000
PAGE_BYTES: Final = 1 << 20


class Place(NamedTuple):
    """A place in the sequence of a stream: all up to it has been seen."""

    item: int = 0
    mark: int = 0
    #: Of the lines at that mark only so many were seen; 0: all of them.
    line: int = 0
    #: Items that were seen or told to be missing, and lines.
    items: int = 0
    lines: int = 0
    #: `end_number` of the task whose end was seen: of the watched task, or, in the watch of a stream, of its first one
    #: if its end has no row. 0 for none.
    ended: int = 0

    def behind_end(self, task: bytes) -> Place:
        """This place, once the end of this task was seen."""
        return self._replace(ended=end_number(task))


def end_number(task: bytes) -> int:
    """What stands for a task in `Place.ended`: a cursor may be used for the watch of another task of the stream."""
    return int.from_bytes(task[-6:]) or 1


class Happened(NamedTuple):
    """One entry of the sequence."""

    #: "item", "log", "attempt", "end" or "notice".
    kind: str
    place: Place
    time: float
    task: bytes | None = None
    attempt: int = 0
    interruptions: int = 0
    #: The name of an item, the level of a line, what became of an attempt, the state of an end.
    name: str | None = None
    #: The encoded value of an item.
    packed: bytes | None = None
    #: A line, or the message of an error, and the type of the error.
    text: str | None = None
    error: str | None = None
    #: Items, and lines, that a notice tells to be missing.
    items: int = 0
    lines: int = 0


class StreamPage(NamedTuple):
    """The next entries of a stream."""

    entries: list[Happened]
    place: Place
    #: Whether there was no more when it was read.
    at_tip: bool
    #: Of the watched task, from the same snapshot; None if there is none.
    record: Record | None


class ItemReader(SnapshotReader):
    """Reads of what tasks have published. A damaged row raises StoreCorrupt, which names it."""

    def happened(
        self, stream: bytes, after: Place, task: bytes | None = None, most_bytes: int = PAGE_BYTES
    ) -> StreamPage:
        """What has happened in a stream behind a place: all of it, or only what this task did.

        A page ends with the entry that makes its values larger than `most_bytes`.
        """
        with self._read() as snapshot:
            record = None
            if task is not None and (row := snapshot.get(Table.TASKS, task)) is not None:
                try:
                    record = Record.unpack(task, row)
                except ValueError as error:
                    raise StoreCorrupt(
                        f"the record of task {task.hex()} is damaged; run `understudy check`",
                        problems=[str(error)],
                    ) from error
            page = _Page(snapshot, stream, after, task, most_bytes)
            at_tip = page.read()
            if task is None and after == Place():
                page.add_end(self._first_of(snapshot, stream))
        return StreamPage(page.entries, page.place, at_tip, record)

    def marks(self, watched: Iterable[tuple[bytes, bytes | None]]) -> list[object]:
        """For each stream, or task in it, what has changed if `happened` would give something new there. Quick.

        Exception: the end of a stream's first task if that has been pruned.
        """
        with self._read() as snapshot:
            return [
                (
                    snapshot.last_key(Table.ITEMS, stream, after_prefix(stream)),
                    snapshot.get(Table.ITEMS, head_key(stream)),
                    snapshot.get(Table.TASKS, task or stream),
                )
                for stream, task in watched
            ]

    def _first_of(self, snapshot: Snapshot, stream: bytes) -> Record | None:
        """The first task of a stream; None if there is none, or none that can be read."""
        id: bytes | None = stream
        row = snapshot.get(Table.TASKS, stream)
        if row is None:
            facet = facet_of_id(Facet.STREAM, stream)
            some = next(snapshot.rows(Table.INDEX, facet, after_prefix(facet)), None)
            id = None if some is None else oldest_in(*some)
            row = None if id is None else snapshot.get(Table.TASKS, id)
        try:
            return None if row is None or id is None else Record.unpack(id, row)
        except ValueError:
            return None


class _Page:
    """The entries of one page as they are read."""

    def __init__(
        self, snapshot: Snapshot, stream: bytes, after: Place, task: bytes | None, most_bytes: int
    ) -> None:
        self._snapshot = snapshot
        self._stream = stream
        self._task = task
        self.place = after
        self.entries: list[Happened] = []
        self._bytes = 0
        self._most_bytes = most_bytes
        try:
            self._head = Head.unpack(snapshot.get(Table.ITEMS, head_key(stream)))
        except ValueError as error:
            raise _damaged(head_key(stream), error) from error

    def read(self) -> bool:
        """Fill the page; whether there is no more."""
        place, head = self.place, self._head
        if place.items < head.dropped:
            self._miss(items=head.dropped)
        start = item_key(self._stream, place.item, place.mark) + (b"" if place.line else b"\0")
        for key, row in self._snapshot.rows(Table.ITEMS, start, after_prefix(self._stream)):
            item, mark = place_of(key)
            try:
                kind, task, attempt, interruptions, time, *rest = unpack_row(key, row)
            except ValueError as error:
                raise _damaged(key, error) from error
            self._miss(items=item if mark else item - 1)
            wanted = self._task is None or task == self._task
            if kind == LOG:
                self._lines(item, mark, task, attempt, interruptions, time, *rest, wanted=wanted)
            else:
                items = item if kind == ITEM else self.place.items
                self.place = Place(item, mark, 0, items, self.place.lines)
                if kind == ITEM:
                    if wanted:
                        name, packed = rest
                        self.entries.append(
                            Happened("item", self.place, time, task, attempt, interruptions, name, packed)
                        )
                        self._bytes += len(packed)
                elif wanted:
                    self._mark(kind, task, attempt, interruptions, time, *rest)
                    if kind == END and self._task is not None:
                        return True
            if len(self.entries) >= PAGE_ENTRIES or self._bytes >= self._most_bytes:
                return False
        self._miss(items=head.item, lines=head.lines)
        return True

    def add_end(self, first: Record | None) -> None:
        """Put the end of the first task of the stream before all else if it told nothing and was alone until then.

        Such an end has no row.
        """
        if first is None or first.ended is None or self._head != Head():
            return
        told = self.entries[0] if self.entries else None
        if told is not None and (
            told.time <= first.ended or any(each.task == first.id for each in self.entries)
        ):
            return
        end = end_of(first, Place().behind_end(first.id))
        self.entries[:] = [
            end,
            *(each._replace(place=each.place.behind_end(first.id)) for each in self.entries),
        ]
        self.place = self.place.behind_end(first.id)

    def _mark(
        self, kind: int, task: bytes, attempt: int, interruptions: int, time: float,
        name: str, error: str | None, text: str | None,
    ) -> None:  # fmt: skip
        if kind == END and self._task is not None:
            self.place = self.place.behind_end(task)
        what = "attempt" if kind == TRY else "end"
        self.entries.append(
            Happened(what, self.place, time, task, attempt, interruptions, name, None, text, error)
        )

    def _lines(
        self, item: int, mark: int, task: bytes, attempt: int, interruptions: int, time: float,
        chunk: int, count: int, before: int, *, wanted: bool,
    ) -> None:  # fmt: skip
        seen = self.place.line if (self.place.item, self.place.mark) == (item, mark) else 0
        self._miss(lines=before)
        behind = Place(item, mark, 0, self.place.items, before + count)
        lines = self._chunk(task, chunk) if wanted else []
        if wanted and not lines:
            self.place = behind._replace(line=0, lines=before + seen)
            self._miss(lines=before + count, of_stream=False)
        for number, (at, level, text) in enumerate(lines[seen:], seen + 1):
            last = number == len(lines)
            place = behind if last else behind._replace(line=number, lines=before + number)
            self.entries.append(Happened("log", place, at, task, attempt, interruptions, level, None, text))
            self._bytes += len(text)
        self.place = behind

    def _chunk(self, task: bytes, chunk: int) -> list[tuple[float, str, str]]:
        row = self._snapshot.get(Table.LOGS, log_key(task, chunk))
        try:
            return [] if row is None else [(at, level, text) for at, level, text in msgpack.unpackb(row)]
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise StoreCorrupt(f"the log of task {task.hex()} is damaged; run `understudy check`") from error

    def _miss(self, items: int = 0, lines: int = 0, *, of_stream: bool = True) -> None:
        """Tell of items and lines up to these numbers that are gone."""
        place, head = self.place, self._head
        missed_items, missed_lines = items - place.items, lines - place.lines
        if missed_items <= 0 and missed_lines <= 0:
            return
        self.place = place._replace(items=max(items, place.items), lines=max(lines, place.lines))
        if self._task is not None and of_stream:
            # What has gone with other tasks is no loss for this one. What was dropped may have been its own.
            missed_items = min(items, head.dropped) - place.items
            missed_lines = min(lines, head.dropped_lines) - place.lines
        missed_items, missed_lines = max(missed_items, 0), max(missed_lines, 0)
        if missed_items or missed_lines:
            self.entries.append(Happened("notice", self.place, 0.0, items=missed_items, lines=missed_lines))


def end_of(record: Record, place: Place) -> Happened:
    """The end of a task that has no row for it, from its record."""
    kind, message = (None, None) if record.error is None else record.error[:2]
    return Happened(
        "end", place, record.ended or 0.0, record.id, record.attempt, record.interruptions, str(record.state), None,
        message, kind,
    )  # fmt: skip


def _damaged(key: bytes, error: ValueError) -> StoreCorrupt:
    return StoreCorrupt(f"item {key.hex()} is damaged; run `understudy check`", problems=[str(error)])

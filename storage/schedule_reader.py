"""ScheduleReader: the part of `Reader` that reads the rows of schedules."""

from __future__ import annotations

from itertools import islice

from ..actors.errors import StoreCorrupt
from .snapshot_reader import SnapshotReader
from .tables import schedule_rows
from .tables.schedule_rows import Entry, ScheduleRow
from .tables.schema import Table


class ScheduleReader(SnapshotReader):
    """Reads of schedules. Each answer comes from one snapshot; a damaged row raises StoreCorrupt, which names it."""

    def schedule(self, key: str) -> ScheduleRow | None:
        """The schedule with this key; None if there is none."""
        with self._read() as snapshot:
            packed = snapshot.get(Table.SCHEDULES, schedule_rows.row_key(key))
            return None if packed is None else _row(key, packed)

    def schedules(
        self, *, state: str | None = None, limit: int | None = 100, after: str | None = None
    ) -> list[ScheduleRow]:
        """At most `limit` schedules in this state, sorted by key, from behind the key `after` on."""
        with self._read() as snapshot:
            rows = snapshot.rows(Table.SCHEDULES, *schedule_rows.all_rows(after))
            found = (_row(schedule_rows.key_of(key), packed) for key, packed in rows)
            return list(islice((row for row in found if state in (None, row.state)), limit))

    def schedule_history(
        self, key: str, limit: int | None = 100, before: int | None = None
    ) -> list[tuple[int, Entry]]:
        """The history of a schedule with the numbers of its entries, newest first, before the entry of this number."""
        with self._read() as snapshot:
            start, stop = schedule_rows.history_of(key, before)
            rows = snapshot.rows(Table.SCHEDULES, start, stop, reverse=True)
            return [
                (schedule_rows.entry_of(row)[1], _entry(key, packed)) for row, packed in islice(rows, limit)
            ]


def _row(key: str, packed: bytes) -> ScheduleRow:
    try:
        return ScheduleRow.unpack(key, packed)
    except ValueError as error:
        raise StoreCorrupt(
            f"schedule {key} is damaged; run `understudy check`", problems=[str(error)]
        ) from error


def _entry(key: str, packed: bytes) -> Entry:
    try:
        return Entry.unpack(packed)
    except ValueError as error:
        raise StoreCorrupt(
            f"the history of schedule {key} is damaged; run `understudy check`", problems=[str(error)]
        ) from error

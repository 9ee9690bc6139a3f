"""`ScheduleStore`: the rows of schedules. A schedule's own row and those that lead to it change together."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ...actors.errors import ScheduleNotFound, StoreCorrupt
from ...storage.store import Store
from ...storage.tables import schedule_rows
from ...storage.tables.schedule_rows import KEPT, Entry, ScheduleRow
from ...storage.tables.schema import Table

log = logging.getLogger("understudy")

Marks = tuple[float | None, float | None, bool]
NEW: Marks = (None, None, False)


class ScheduleStore:
    """All schedules of a home. They are on disk only; memory has the earliest time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        packed = store.get(Table.SCHEDULES, schedule_rows.COUNT)
        #: How many have not ended.
        self.count = int(packed or 0)
        #: When the first one is due, or an earlier time; None if there is none.
        self.first: float | None = None
        self.look_for_first()

    def look_for_first(self) -> None:
        """Find out when the first one is due."""
        rows = self._store.look(Table.SCHEDULES, *schedule_rows.due_range(), limit=1)
        self.first = schedule_rows.timed(rows[0][0])[0] if rows else None

    def find(self, key: str) -> ScheduleRow | None:
        """The schedule of this key; None if there is none. StoreCorrupt for one that cannot be read."""
        packed = self._store.get(Table.SCHEDULES, schedule_rows.row_key(key))
        try:
            return None if packed is None else ScheduleRow.unpack(key, packed)
        except ValueError as error:
            raise StoreCorrupt(
                f"schedule {key} is damaged; run `understudy check`", problems=[str(error)]
            ) from error

    def known(self, key: str) -> ScheduleRow:
        """As `find`; ScheduleNotFound if there is none."""
        row = self.find(key)
        if row is None:
            raise ScheduleNotFound(f"no schedule has the key {key!r:.200}; it may have been pruned", key)
        return row

    def put(self, row: ScheduleRow, before: Marks) -> None:
        """Write a schedule with the open batch. `before`: its marks as they are stored; NEW for a new one."""
        put, delete = self._store.put, self._store.delete
        put(Table.SCHEDULES, schedule_rows.row_key(row.key), row.pack())
        due, ended, declared = row.marks
        if before[0] is not None and before[0] != due:
            delete(Table.SCHEDULES, schedule_rows.due_key(before[0], row.key))
        if due is not None and due != before[0]:
            put(Table.SCHEDULES, schedule_rows.due_key(due, row.key), b"")
            if self.first is None or due < self.first:
                self.first = due
        if before[1] is not None and before[1] != ended:
            delete(Table.SCHEDULES, schedule_rows.ended_key(before[1], row.key))
        if ended is not None and ended != before[1]:
            put(Table.SCHEDULES, schedule_rows.ended_key(ended, row.key), b"")
        if declared and not before[2]:
            put(Table.SCHEDULES, schedule_rows.declared_key(row.key), b"")
        elif before[2] and not declared:
            delete(Table.SCHEDULES, schedule_rows.declared_key(row.key))

    def changed(self, more: int) -> None:
        """So many schedules more have not ended."""
        if more:
            self.count += more
            self._store.put(Table.SCHEDULES, schedule_rows.COUNT, b"%d" % self.count)

    def enter(self, row: ScheduleRow, entry: Entry) -> None:
        """Add an entry to a schedule's history. The oldest one goes if there are 1,000 already."""
        row.number += 1
        self._store.put(Table.SCHEDULES, schedule_rows.entry_key(row.key, row.number), entry.pack())
        if row.number > KEPT:
            self._store.delete(Table.SCHEDULES, schedule_rows.entry_key(row.key, row.number - KEPT))

    def history(self, key: str) -> Iterator[Entry]:
        """The history of a schedule, oldest first; damaged entries are left out."""
        start, stop = schedule_rows.history_of(key)
        for _, packed in self._store.look(Table.SCHEDULES, start, stop, limit=KEPT):
            try:
                yield Entry.unpack(packed)
            except ValueError:
                log.exception("an entry in the history of schedule %s is damaged", key)

    def due(self, now: float, most: int) -> list[ScheduleRow]:
        """The schedules that are due, at most `most`, by time. A row without its schedule is damage and is removed."""
        rows = []
        for index, _ in self._store.look(Table.SCHEDULES, *schedule_rows.due_range(now), limit=most):
            _, key = schedule_rows.timed(index)
            try:
                row = self.find(key)
            except StoreCorrupt:
                log.exception("schedule %s does not run, as its row is damaged", key)
                row = None
            if row is None or row.due is None or schedule_rows.due_key(row.due, key) != index:
                log.error("a schedule's time without the schedule is removed: %s", index.hex())
                self._store.delete(Table.SCHEDULES, index)
                continue
            rows.append(row)
        return rows

    def put_off(self, key: str, until: float) -> None:
        """Let a schedule begin its next run at this time and no earlier."""
        row = self.known(key)
        before = row.marks
        row.begin = until
        self.put(row, before)

    def declared(self) -> list[str]:
        """The schedules that the code has declared when it was loaded last."""
        start, stop = schedule_rows.all_declared()
        return [
            schedule_rows.key_of(key)
            for key, _ in self._store.look(Table.SCHEDULES, start, stop, limit=1 << 30)
        ]

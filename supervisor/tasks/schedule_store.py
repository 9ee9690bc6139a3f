"""`ScheduleStore`: the rows of schedules. A schedule's own row and those that lead to it change together."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from ...actors.errors import StoreCorrupt
from ...actors.schedules.info import NEAR, no_schedule
from ...storage.store import Store
from ...storage.tables import schedule_rows
from ...storage.tables.schedule_rows import KEPT, Entry, ScheduleRow
from ...storage.tables.schema import Table

log = logging.getLogger("understudy")

Marks = tuple[float | None, float | None, bool]
NEW: Marks = (None, None, False)

#: Schedules in memory. One that is due is read and written twice, when its run begins and when it ends.
KEPT_ROWS: Final = 10_000


class ScheduleStore:
    """All schedules of a home. They are on disk; memory has the earliest time, and those that were written last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Schedules as they are stored. One that is being changed is not here, so a change that fails leaves nothing.
        self._rows: dict[str, ScheduleRow] = {}
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
        row = self._rows.pop(key, None)
        if row is not None:
            return row
        return _unpacked(key, self._store.get(Table.SCHEDULES, schedule_rows.row_key(key)))

    def known(self, key: str) -> ScheduleRow:
        """As `find`; ScheduleNotFound if there is none."""
        row = self.find(key)
        if row is None:
            raise no_schedule(key, self._keys())
        return row

    def _keys(self) -> Iterator[str]:
        rows = self._store.look(Table.SCHEDULES, *schedule_rows.all_rows(), limit=NEAR)
        return (schedule_rows.key_of(key) for key, _ in rows)

    def put(self, row: ScheduleRow, before: Marks) -> None:
        """Write a schedule with the open batch. `before`: its marks as they are stored; NEW for a new one."""
        key = row.key
        rows, row.entered = row.entered, {}
        rows[schedule_rows.row_key(key)] = row.pack()
        due, ended, declared = row.marks
        if before[0] is not None and before[0] != due:
            rows[schedule_rows.due_key(before[0], key)] = None
        if due is not None and due != before[0]:
            rows[schedule_rows.due_key(due, key)] = b""
            if self.first is None or due < self.first:
                self.first = due
        if before[1] is not None and before[1] != ended:
            rows[schedule_rows.ended_key(before[1], key)] = None
        if ended is not None and ended != before[1]:
            rows[schedule_rows.ended_key(ended, key)] = b""
        if declared != before[2]:
            rows[schedule_rows.declared_key(key)] = b"" if declared else None
        size = sum(len(name) + len(value or b"") for name, value in rows.items())
        self._store.batch.merge(Table.SCHEDULES, rows, size)
        self.keep(row)

    def keep(self, row: ScheduleRow) -> None:
        """Keep a schedule that was found, and not changed since, in memory."""
        if len(self._rows) >= KEPT_ROWS:
            del self._rows[next(iter(self._rows))]
        self._rows[row.key] = row

    def pruned(self) -> None:
        """Rows were deleted by others."""
        self._rows.clear()

    def changed(self, more: int) -> None:
        """So many schedules more have not ended."""
        if more:
            self.count += more
            self._store.put(Table.SCHEDULES, schedule_rows.COUNT, b"%d" % self.count)

    def enter(self, row: ScheduleRow, entry: Entry) -> None:
        """Add an entry to a schedule's history, to be written with it. The oldest one goes if there are 1,000."""
        row.number += 1
        row.entered[schedule_rows.entry_key(row.key, row.number)] = entry.pack()
        if row.number > KEPT:
            row.entered[schedule_rows.entry_key(row.key, row.number - KEPT)] = None

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
        times = [
            index for index, _ in self._store.look(Table.SCHEDULES, *schedule_rows.due_range(now), limit=most)
        ]
        keys = [schedule_rows.timed(index)[1] for index in times]
        missing = [schedule_rows.row_key(key) for key in keys if key not in self._rows]
        packed = self._store.get_many(Table.SCHEDULES, missing) if missing else {}
        rows = []
        for index, key in zip(times, keys, strict=True):
            row = self._rows.pop(key, None)
            if row is None:
                try:
                    row = _unpacked(key, packed.get(schedule_rows.row_key(key)))
                except StoreCorrupt:
                    log.exception("schedule %s does not run, as its row is damaged", key)
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


def _unpacked(key: str, packed: bytes | None) -> ScheduleRow | None:
    try:
        return None if packed is None else ScheduleRow.unpack(key, packed)
    except ValueError as error:
        raise StoreCorrupt(
            f"schedule {key} is damaged; run `understudy check`", problems=[str(error)]
        ) from error

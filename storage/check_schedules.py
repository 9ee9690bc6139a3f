"""ScheduleCheck: the part of the check of a store that looks at the rows of schedules."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .shared_view import Snapshot
from .tables import schedule_rows
from .tables.record import Record
from .tables.schedule_rows import COUNT, DECLARED, DUE, ENDED, HISTORY, KEPT, ROW, Entry, ScheduleRow
from .tables.schema import Table

#: Where a row has to stand that a schedule's own row says of it.
_TIMED = {DUE: "due", ENDED: "ended"}


class ScheduleCheck:
    """The rules of the rows of schedules, in one snapshot."""

    def __init__(self, snapshot: Snapshot, record: Callable[[bytes], Record | None]) -> None:
        self._snapshot = snapshot
        self._record = record
        self._alive = 0

    def problems(self, key: bytes, row: bytes) -> Iterator[str]:
        """What is wrong with a row. Called with all of them, in their order: COUNT comes last."""
        kind = key[:1]
        try:
            if kind == ROW:
                yield from self._schedule(schedule_rows.key_of(key), row)
            elif kind in _TIMED:
                yield from self._time(kind, key)
            elif kind == HISTORY:
                yield from self._entry(key, row)
            elif kind == DECLARED:
                schedule = self._find(schedule_rows.key_of(key))
                if schedule is None or not schedule.declared:
                    yield f"row {key.hex()} of schedules says that the code declares what is not declared"
            elif key == COUNT:
                if int(row) != self._alive:
                    yield f"{int(row):,} schedules are counted that have not ended, and there are {self._alive:,}"
            else:
                yield f"row {key.hex()} of schedules is of no known kind"
        except (ValueError, LookupError) as error:
            yield f"row {key.hex()} of schedules: {error}"

    def _find(self, key: str) -> ScheduleRow | None:
        packed = self._snapshot.get(Table.SCHEDULES, schedule_rows.row_key(key))
        return None if packed is None else ScheduleRow.unpack(key, packed)

    def _schedule(self, key: str, packed: bytes) -> Iterator[str]:
        row = ScheduleRow.unpack(key, packed)
        self._alive += row.ended is None
        wanted = {
            "its time": None if row.due is None else schedule_rows.due_key(row.due, key),
            "its end": None if row.ended is None else schedule_rows.ended_key(row.ended, key),
            "its declaration": schedule_rows.declared_key(key) if row.declared else None,
        }
        for what, index in wanted.items():
            if index is not None and self._snapshot.get(Table.SCHEDULES, index) is None:
                yield f"schedule {key!r} has no row for {what}"
        if row.is_active and row.next is None:
            yield f"schedule {key!r} is active but never due"
        if (
            row.number
            and self._snapshot.get(Table.SCHEDULES, schedule_rows.entry_key(key, row.number)) is None
        ):
            yield f"schedule {key!r} lacks the last entry of its history"
        for run, _ in row.active:
            record = self._record(run)
            if record is None or record.ended is not None:
                yield f"schedule {key!r} waits for the end of {run.hex()}, which has ended"

    def _time(self, kind: bytes, key: bytes) -> Iterator[str]:
        _, name = schedule_rows.timed(key)
        row = self._find(name)
        time = None if row is None else row.due if kind == DUE else row.ended
        make = schedule_rows.due_key if kind == DUE else schedule_rows.ended_key
        if time is None or make(time, name) != key:
            yield f"row {key.hex()} of schedules says when {name!r} is {_TIMED[kind]}, which it is not"

    def _entry(self, key: bytes, packed: bytes) -> Iterator[str]:
        name, number = schedule_rows.entry_of(key)
        entry = Entry.unpack(packed)
        row = self._find(name)
        if row is None or not row.number - KEPT < number <= row.number:
            yield f"row {key.hex()} of schedules is not in the history of {name!r}"
        if entry.run is not None and (record := self._record(entry.run)) is not None:
            at = (record.trigger or {}).get("scheduled_at")
            if record.trigger is None or record.trigger.get("schedule") != name or at != entry.scheduled_at:
                yield f"task {entry.run.hex()} is in the history of {name!r}, which has not triggered it"

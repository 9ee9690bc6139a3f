"""TotalsReader: the part of `Reader` that reads numbers which only grow, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from .live_rows import keys_by_age, record_of
from .search import Counts, counts_of
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .stats_reader import check_upgraded, sound
from .tables import removed_rows, schedule_rows
from .tables.event_rows import EVENT, uid_of
from .tables.schedule_rows import ScheduleRow
from .tables.schema import READY, Lane, Table, after_prefix
from .tables.step_rows import MARKS, PERIODS, Range, Step, all_sums, cover, first_key, unpack_marks

#: Where ready tasks wait for a place on a worker.
_READY: Final = (*READY, Lane.POOL)
_HOURS: Final = len(PERIODS) - 1


@dataclass(slots=True)
class Sums:
    """What has ended in all full hours, by name. It is made once and then goes on, because there may be many hours."""

    until: int = 0
    """The end of these hours, in seconds since the epoch."""
    steps: dict[str, Step] = field(default_factory=dict)
    begun: bool = False

    def take(self, rows: Iterable[bytes]) -> None:
        """Add what ended in these steps."""
        for row in rows:
            step = sound(Step.unpack, row)
            if step.name in self.steps:
                self.steps[step.name].add(step)
            else:
                self.steps[step.name] = step


@dataclass(slots=True)
class ScheduleTotals:
    """Sums over all schedules."""

    states: Counter[str] = field(default_factory=Counter)
    late: int = 0
    runs: int = 0
    skips: int = 0


class TotalsReader(SnapshotReader):
    """Reads of sums over everything that the store has counted."""

    def totals(self, sums: Sums, now: float) -> tuple[dict[str, Step], Counts]:
        """All that has ever ended, by name, and how many tasks are in each state: from one snapshot.

        `sums` is an empty one at first, and the same one each time after that.
        """
        with self._read() as snapshot:
            check_upgraded(snapshot)
            marks = unpack_marks(snapshot.get(Table.STATS, MARKS))
            if not sums.begun:
                sums.begun = True
                sums.take(row for _, row in snapshot.rows(Table.STATS, *all_sums()))
            if marks[_HOURS] > sums.until:
                sums.take(_rows(snapshot, Range(_HOURS, sums.until, marks[_HOURS])))
                sums.until = marks[_HOURS]
            recent = Sums()
            for part in cover(sums.until, now, marks):
                recent.take(_rows(snapshot, part))
            for name, step in sums.steps.items():
                if name in recent.steps:
                    recent.steps[name].add(step)
                else:
                    recent.steps[name] = step
            return recent.steps, counts_of(snapshot)

    def oldest_ready(self) -> float | None:
        """When the oldest task was created that waits for a place on a worker; None if none does."""
        with self._read() as snapshot:
            firsts = [next(keys_by_age(snapshot, lane), None) for lane in _READY]
            return min((record_of(snapshot, key).created for key in firsts if key is not None), default=None)

    def events_behind(self, uid: bytes) -> tuple[int, bytes, int]:
        """How many events are stored with uids above this one, the largest uid, and how many events were pruned."""
        count = 0
        with self._read() as snapshot:
            for key, _ in snapshot.rows(
                Table.EVENTS, EVENT + uid + b"\0" if uid else EVENT, after_prefix(EVENT)
            ):
                count += 1
                uid = uid_of(key)
            (removed,) = removed_rows.unpack(snapshot.get(Table.META, removed_rows.EVENTS), 1)
            return count, uid, removed

    def schedule_totals(self, before: float) -> ScheduleTotals:
        """The sums over all schedules, those that were pruned as well. `before`: an active one due then is late."""
        with self._read() as snapshot:
            runs, skips = removed_rows.unpack(snapshot.get(Table.META, removed_rows.SCHEDULES), 2)
            totals = ScheduleTotals(runs=runs, skips=skips)
            for key, packed in snapshot.rows(Table.SCHEDULES, *schedule_rows.all_rows()):
                row = sound(partial(ScheduleRow.unpack, schedule_rows.key_of(key)), packed)
                totals.states[row.state] += 1
                totals.late += row.is_active and row.next is not None and row.next < before
                totals.runs += row.runs
                totals.skips += row.skips
            return totals


def _rows(snapshot: Snapshot, part: Range) -> Iterable[bytes]:
    rows = snapshot.rows(Table.STATS, first_key(part.level, part.start), first_key(part.level, part.stop))
    return (row for _, row in rows)

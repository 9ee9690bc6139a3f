"""TotalsReader: the part of `Reader` that reads numbers which only grow, for metrics."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from ..actors.state import TERMINAL
from .live_rows import keys_by_age, parsed, record_of, sort_prefixes
from .search import Counts, counts_of
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .stats_reader import check_upgraded, sound
from .tables import removed_rows, schedule_rows
from .tables.event_rows import EVENT, uid_of
from .tables.index_rows import Facet, facet_of, ids_in, newest_in
from .tables.record import Record, end_of
from .tables.schedule_rows import ScheduleRow
from .tables.schema import READY, Lane, Table, after_prefix, live_id
from .tables.step_rows import MARKS, PERIODS, Range, Step, all_sums, cover, first_key, unpack_marks

#: Where ready tasks wait for a place on a worker.
_READY: Final = (*READY, Lane.POOL)
#: Tasks at the front of all queues that one look reads, of whatever name.
FRONT: Final = 200
#: Further tasks of one name, and seconds for all names, that it takes to find the oldest ones.
WALKED: Final = 1_000
WALK_SECONDS: Final = 0.03
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


class Oldest(NamedTuple):
    """The oldest task of a name."""

    id: bytes
    created: float


@dataclass(slots=True)
class ReadyAges:
    """By name, the id up to which all of its tasks have ended, as far as was looked. A later look goes on there."""

    ended: dict[str, bytes] = field(default_factory=dict)


class _Walk:
    """Looks for the oldest ready task of a name among those that are newer than `after`."""

    def __init__(self, snapshot: Snapshot, ages: ReadyAges, after: bytes) -> None:
        self._snapshot = snapshot
        self._ages = ages
        self._after = after
        self._places = [place for lane in _READY for place in sort_prefixes(snapshot, lane)]
        self._until = time.monotonic() + WALK_SECONDS

    def oldest(self, name: str) -> tuple[Oldest | None, bool]:
        """The task, and whether none is known to be there if there is no answer."""
        facet = facet_of(Facet.NAME, name)
        start = max(self._after, self._ages.ended.get(name, b""))
        looked, all_ended = 0, True
        for key, value in self._snapshot.rows(Table.INDEX, facet + start, after_prefix(facet)):
            for id in parsed(newest_in(key), ids_in, key, value):
                if id <= start:
                    continue
                looked += 1
                if looked > WALKED or time.monotonic() > self._until:
                    return None, False
                row = self._snapshot.get(Table.TASKS, id)
                if row is None or parsed(id, end_of, row)[0] in TERMINAL:
                    if all_ended:
                        self._ages.ended[name] = id
                    continue
                all_ended = False
                if any(self._snapshot.get(Table.LIVE, place + id) is not None for place in self._places):
                    record = parsed(id, Record.unpack, id, row)
                    # Names with the same hash share the facet.
                    if record.name == name:
                        return Oldest(id, record.created), True
        return None, True


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

    def oldest_ready(self, ages: ReadyAges, names: Iterable[str]) -> tuple[dict[str, Oldest], set[str]]:
        """By name, the oldest task that waits for a place on a worker; and the names of which it is not known yet.

        `names` are those that have queued tasks. It reads the tasks that are first in the queues, of whatever name.
        Those of another name are newer, and are looked for by that name, for a short time. Of tasks that were started
        within the same second, a newer one may be taken for the oldest.
        """
        found: dict[str, Oldest] = {}
        with self._read() as snapshot:
            queues = [keys_by_age(snapshot, lane) for lane in _READY]
            front = list(islice(heapq.merge(*queues, key=live_id), FRONT))
            for key in front:
                record = record_of(snapshot, key)
                found.setdefault(record.name, Oldest(record.id, record.created))
            if len(front) < FRONT:
                return found, set()
            walk = _Walk(snapshot, ages, live_id(front[-1]))
            unknown = set()
            for name in names:
                if name not in found:
                    oldest, known = walk.oldest(name)
                    if oldest is not None:
                        found[name] = oldest
                    elif not known:
                        unknown.add(name)
            return found, unknown

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

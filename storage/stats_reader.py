"""StatsReader: the part of `Reader` that reads earlier attempts, failures by their cause, and what ended when."""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

from ..actors.errors import StoreCorrupt, StoreError
from .live_rows import parsed
from .search import SECONDS, is_indexed
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .tables import failure_rows
from .tables.attempt_rows import Run, run_number
from .tables.failure_rows import Part
from .tables.fingerprint import Cause
from .tables.index_rows import Facet, facet_of_id, newest_in
from .tables.record import Record
from .tables.schema import Table, after_prefix
from .tables.start_rows import STARTS_ROW, Start, unpack_starts
from .tables.step_rows import (
    MARKS,
    PERIODS,
    Range,
    Step,
    cover,
    first_key,
    name_hash,
    step_in,
    step_key,
    unpack_marks,
)

T = TypeVar("T")

#: Rows between two looks at the clock.
_STEP: Final = 256


@dataclass(slots=True)
class Group:
    """Failures with one cause."""

    cause: Cause
    fingerprint: bytes
    count: int
    """How many tasks failed with it in the window."""
    first: float
    """When the first and the last of them ended, in seconds since the epoch."""
    last: float
    tasks: list[bytes]
    """The ids of the last of them, newest first."""


@dataclass(slots=True)
class Groups:
    """The causes of the failures in a window, the most frequent first."""

    groups: list[Group] = field(default_factory=list)
    total: int = 0
    """How many causes there are."""
    stopped: float | None = None
    """If its time was over: up to which time it has looked back, in seconds since the epoch."""


class StatsReader(SnapshotReader):
    """Reads of what has ended. Each answer comes from one snapshot; a damaged row raises StoreCorrupt."""

    def runs(self, id: bytes) -> list[tuple[int, Run]]:
        """The stored runs of a task with their numbers, oldest first."""
        with self._read() as snapshot:
            rows = snapshot.rows(Table.ATTEMPTS, id, after_prefix(id))
            return [(run_number(key), sound(Run.unpack, row)) for key, row in rows]

    def starts(self) -> list[Start]:
        """When supervisors of the home have started, oldest first; the last 500 are kept."""
        with self._read() as snapshot:
            row = snapshot.get(Table.META, STARTS_ROW)
            return [] if row is None else sound(unpack_starts, row)

    def not_retried(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those of these tasks that no task retries."""
        with self._read() as snapshot:
            return [id for id in ids if _retry_of(snapshot, id) is None]

    def retry_of(self, id: bytes) -> bytes | None:
        """A task that retries this one; None if none does."""
        with self._read() as snapshot:
            return _retry_of(snapshot, id)

    def failures(
        self,
        since: float,
        *,
        fits: Callable[[str], bool] = lambda _: True,
        limit: int = 100,
        examples: int = 5,
        seconds: float | None = SECONDS,
    ) -> Groups:
        """The causes of the failures of tasks that ended after `since`, of tasks with names that fit.

        The window begins with the ten seconds that `since` lies in. It stops after `seconds`; None: when it has looked
        at all.
        """
        since = since // 10 * 10
        found = Groups()
        with self._read() as snapshot:
            check_upgraded(snapshot)
            counts: defaultdict[bytes, int] = defaultdict(int)
            began = time.monotonic()
            for looked, (key, row) in enumerate(_numbers(snapshot, since), 1):
                counts[failure_rows.fingerprint_in(key)] += sound(failure_rows.unpack_number, row)
                if seconds is not None and looked % _STEP == 0 and time.monotonic() - began > seconds:
                    found.stopped = since = _time_of(key)
                    break
            causes = {}
            for fingerprint in counts:
                row = snapshot.get(Table.FAILURES, failure_rows.cause_key(fingerprint)) or b""
                cause = sound(failure_rows.unpack_cause, row)[0]
                if fits(cause.task):
                    causes[fingerprint] = cause
            found.total = len(causes)
            for fingerprint in heapq.nlargest(limit, causes, key=lambda each: (counts[each], each)):
                group = _group(snapshot, fingerprint, since, examples)
                if group is not None:
                    first, last, tasks = group
                    found.groups.append(
                        Group(causes[fingerprint], fingerprint, counts[fingerprint], first, last, tasks)
                    )
        return found

    def ended(
        self,
        start: float,
        now: float,
        *,
        name: str | None = None,
        fits: Callable[[str], bool] = lambda _: True,
    ) -> tuple[int, dict[str, Step]]:
        """What has ended from `start` on, by name; of one name, or of the names that fit.

        Also the beginning of the window: that of the step that `start` lies in.
        """
        sums: dict[str, Step] = {}
        wanted = None if name is None else name_hash(name)
        with self._read() as snapshot:
            check_upgraded(snapshot)
            ranges = list(cover(start, now, unpack_marks(snapshot.get(Table.STATS, MARKS))))
            for each in ranges:
                for row in _steps(snapshot, each, wanted):
                    step = sound(Step.unpack, row)
                    if not fits(step.name):
                        continue
                    if step.name in sums:
                        sums[step.name].add(step)
                    else:
                        sums[step.name] = step
        return ranges[0].start, sums

    def ended_over(self, start: float, now: float, width: int) -> list[tuple[int, Step]]:
        """What has ended from `start` on, of all names, as (beginning, sum) of each bar of `width` seconds.

        Bars begin at multiples of `width`; those without an end are there, too. `width` is a multiple of the steps
        that reach back to `start`.
        """
        begin = int(start // width) * width
        bars = [(at, Step("")) for at in range(begin, max(int(now), begin) + 1, width)]
        level = max(level for level, period in enumerate(PERIODS) if width % period == 0)
        with self._read() as snapshot:
            check_upgraded(snapshot)
            whole = unpack_marks(snapshot.get(Table.STATS, MARKS))[level] if level else begin
            whole = max(whole, begin)
            for part in (Range(level, begin, whole), Range(0, whole, None)):
                rows = snapshot.rows(
                    Table.STATS, first_key(part.level, part.start), first_key(part.level, part.stop)
                )
                for key, row in rows:
                    bar = (sound(step_in, key)[1] - begin) // width
                    if bar < len(bars):
                        bars[bar][1].add(sound(Step.unpack, row))
        return bars


def _steps(snapshot: Snapshot, steps: Range, name: bytes | None) -> Iterator[bytes]:
    level, start, stop = steps
    if name is None:
        for _, row in snapshot.rows(Table.STATS, first_key(level, start), first_key(level, stop)):
            yield row
    elif stop is None:
        for key, row in snapshot.rows(Table.STATS, first_key(level, start), first_key(level, stop)):
            if step_in(key)[2] == name:
                yield row
    else:
        for at in range(start, stop, PERIODS[level]):
            found = snapshot.get(Table.STATS, step_key(level, at, name))
            if found is not None:
                yield found


def _numbers(snapshot: Snapshot, since: float) -> Iterator[tuple[bytes, bytes]]:
    """The numbers of a window that begins at full ten seconds, the newest first: of hours, then of its first part."""
    hour = failure_rows.SECONDS[Part.HOUR]
    whole = -(-since // hour) * hour
    yield from snapshot.rows(
        Table.FAILURES,
        failure_rows.number_key(Part.HOUR, whole),
        bytes((Part.HOUR + 1,)),
        reverse=True,
    )
    yield from snapshot.rows(
        Table.FAILURES,
        failure_rows.number_key(Part.TEN_SECONDS, since),
        failure_rows.number_key(Part.TEN_SECONDS, whole),
        reverse=True,
    )


def _time_of(key: bytes) -> float:
    """The beginning of what a number counts."""
    return float(int.from_bytes(key[1:5], "big") * failure_rows.SECONDS[Part(key[0])])


def _group(
    snapshot: Snapshot, fingerprint: bytes, since: float, examples: int
) -> tuple[float, float, list[bytes]] | None:
    """When the first and the last task with this cause ended, and the last ones of them; None if there are none."""
    start = failure_rows.task_key(fingerprint, since)
    stop = after_prefix(failure_rows.task_key(fingerprint, 0)[:-8])
    newest = [
        sound(failure_rows.task_in, key)
        for key, _ in islice(snapshot.rows(Table.FAILURES, start, stop, reverse=True), max(1, examples))
    ]
    if not newest:
        return None
    first = next(snapshot.rows(Table.FAILURES, start, stop))[0]
    return sound(failure_rows.task_in, first)[0], newest[0][0], [id for _, id in newest[:examples]]


def _retry_of(snapshot: Snapshot, id: bytes) -> bytes | None:
    facet = facet_of_id(Facet.RETRY_OF, id)
    for key, _ in snapshot.rows(Table.INDEX, facet, after_prefix(facet)):
        retry = newest_in(key)
        row = snapshot.get(Table.TASKS, retry)
        # Retries of other tasks may share the facet.
        if row is not None and parsed(retry, Record.unpack, retry, row).retry_of == id:
            return retry
    return None


def check_upgraded(snapshot: Snapshot) -> None:
    """Raise StoreError for a store that has no such rows yet."""
    if snapshot.transaction is not None and not is_indexed(snapshot):
        raise StoreError(
            "the store is of an older release and has no such rows yet; start a supervisor on it once, which "
            "upgrades it"
        )


def sound(parse: Callable[[bytes], T], row: bytes) -> T:
    """What `parse` makes of a row; StoreCorrupt if that is damaged."""
    try:
        return parse(row)
    except ValueError as error:
        raise StoreCorrupt(f"a row of the store is damaged: {error}; run `understudy check`") from error

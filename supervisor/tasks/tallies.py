"""Tallies: what ended in each step of time, written with the commit that writes the ends.

The step of the present is in memory, so a commit packs and puts one row for each name whose tasks have ended in it.
Longer steps are summed up later, in bounded parts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from operator import add
from typing import Final, Protocol

from ...actors.state import State
from ...storage.tables.histogram import buckets_of
from ...storage.tables.moves import Shown
from ...storage.tables.record import CODES, Record
from ...storage.tables.schema import Table
from ...storage.tables.step_rows import (
    ENDS,
    KEPT,
    MARKS,
    PERIODS,
    RETRIED,
    Marks,
    Step,
    first_key,
    floor,
    name_hash,
    pack_marks,
    step_in,
    step_key,
    sum_key,
    unpack_marks,
)

#: Rows of one look at the store.
PART: Final = 500

#: By the code of a final state, its place in a row.
_PLACES: Final = {CODES[state]: place for place, state in enumerate(ENDS)}
_CANCELLED: Final = CODES[State.CANCELLED]


class Store(Protocol):
    """The part of a store that the rows of steps need."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None: ...

    def look(self, table: Table, start: bytes, stop: bytes, *, limit: int) -> list[tuple[bytes, bytes]]: ...


class _Fresh:
    """What of one name has ended since the last commit."""

    __slots__ = ("ended", "runs", "waits")

    def __init__(self) -> None:
        self.ended = [0] * (len(ENDS) + 1)
        self.waits: list[float] = []
        self.runs: list[float] = []


Ended = Mapping[Shown, Sequence[Record]]
"""Tasks that have ended, by what the index holds of them."""


class Tallies:
    """Counts what ends, and keeps the rows of the table `stats`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._marks = unpack_marks(store.get(Table.STATS, MARKS))
        self._fresh: defaultdict[str, _Fresh] = defaultdict(_Fresh)
        #: The step of the present, and its rows by name as they are in the store, with their keys.
        self._start = -1
        self._steps: dict[str, tuple[bytes, Step]] = {}

    # --- counting ---

    def retried(self, record: Record, ended: float) -> None:
        """The attempt of this record has ended and is about to be followed by another one."""
        fresh = self._fresh[record.name]
        fresh.ended[RETRIED] += 1
        if record.started is not None:
            fresh.waits.append(record.started - (record.created if record.ready is None else record.ready))
            fresh.runs.append(ended - record.started)

    def write(self, ended: Ended, now: float) -> None:
        """Put what these tasks, whose ends go to disk now, and the retried attempts add into the open batch."""
        for (name, code, _), records in ended.items():
            fresh = self._fresh[name]
            fresh.ended[_PLACES[code]] += len(records)
            # A cancelled task may not have run, or only in part. An actor runs as long as it lives.
            if code != _CANCELLED and records[0].actor is None:
                _note_times(fresh, records)
        if not self._fresh:
            return
        start = floor(now, 0)
        if start != self._start:
            self._start, self._steps = start, {}
        for name, fresh in self._fresh.items():
            self._add(name, fresh, start)
        self._fresh.clear()

    def _add(self, name: str, fresh: _Fresh, start: int) -> None:
        known = self._steps.get(name)
        if known is None:
            known = self._steps[name] = step_key(0, start, name_hash(name)), self._read(0, start, name)
        key, step = known
        _add(step, fresh)
        self._store.put(Table.STATS, key, step.pack())
        # The clock was set back to a time that is summed up already: add to the sums, too.
        level = 1
        while level < len(PERIODS) and start < self._marks[level]:
            begin = floor(start, level)
            longer = self._read(level, begin, name)
            _add(longer, fresh)
            self._store.put(Table.STATS, step_key(level, begin, name_hash(name)), longer.pack())
            level += 1

    def _read(self, level: int, start: int, name: str) -> Step:
        row = self._store.get(Table.STATS, step_key(level, start, name_hash(name)))
        try:
            return Step(name) if row is None else Step.unpack(row)
        except ValueError:
            return Step(name)  # damaged; `check` has found it

    # --- chores ---

    def sum_up(self, now: float, most: int) -> int:
        """Sum up finished steps and delete those whose time is over, about `most` rows; how many.

        Call it again after the commit until it returns 0.
        """
        done = 0
        marks = list(self._marks)
        for level in range(1, len(PERIODS)):
            source = level - 1
            finished = floor(now if source == 0 else marks[source], level)
            while done < most and marks[level] < finished:
                done += self._sum_up_next(level, marks, finished)
        zero, one, two, three = marks
        self._marks = (zero, one, two, three)
        if done:
            # Otherwise there is nothing before the marks that is not before those on disk: an idle supervisor writes
            # nothing.
            self._store.put(Table.STATS, MARKS, pack_marks(self._marks))
        for level in range(len(PERIODS)):
            if done < most:
                done += self._prune(level, now, most - done)
        return done

    def _sum_up_next(self, level: int, marks: list[int], finished: int) -> int:
        """Sum up the next step of this level in which anything ended; returns how many rows that took."""
        source = level - 1
        first = self._store.look(
            Table.STATS, first_key(source, marks[level]), first_key(source, finished), limit=1
        )
        if not first:
            marks[level] = finished
            return 0
        start = floor(_start_of(first[0][0], marks[level]), level)
        sums: dict[bytes, Step] = {}
        taken = 0
        key, stop = first_key(source, start), first_key(source, start + PERIODS[level])
        while rows := self._store.look(Table.STATS, key, stop, limit=PART):
            taken += len(rows)
            for key, row in rows:
                try:
                    step, name = Step.unpack(row), step_in(key)[2]
                except ValueError:
                    continue  # damaged; `check` finds it
                if name in sums:
                    sums[name].add(step)
                else:
                    sums[name] = step
            key = rows[-1][0] + b"\0"
        for name, step in sums.items():
            self._store.put(Table.STATS, step_key(level, start, name), step.pack())
        marks[level] = start + PERIODS[level]
        return taken

    def _prune(self, level: int, now: float, most: int) -> int:
        """Delete steps of this level that are no longer kept, once they are in the sums of the next level."""
        before = floor(now - KEPT[level], level)
        if level + 1 < len(PERIODS):
            before = min(before, self._marks[level + 1])
        if before <= 0:
            return 0
        rows = self._store.look(Table.STATS, first_key(level, 0), first_key(level, before), limit=most)
        for key, row in rows:
            if level == len(PERIODS) - 1:
                self._keep_sum(key, row)
            self._store.delete(Table.STATS, key)
        return len(rows)

    def _keep_sum(self, key: bytes, row: bytes) -> None:
        """Add a step that is about to be removed to what has ended before the first one that is kept."""
        try:
            step, sum = Step.unpack(row), sum_key(step_in(key)[2])
        except ValueError:
            return  # damaged; `check` has found it
        before = self._store.get(Table.STATS, sum)
        with suppress(ValueError):
            if before is not None:
                step.add(Step.unpack(before))
        self._store.put(Table.STATS, sum, step.pack())

    @property
    def marks(self) -> Marks:
        """See `step_rows`."""
        return self._marks


def _note_times(fresh: _Fresh, records: Sequence[Record]) -> None:
    """Note how long the last attempts of these tasks have waited and run."""
    try:
        # As comprehensions: this is done for each task.
        waits = [
            record.started - (record.created if record.ready is None else record.ready)  # type: ignore[operator]
            for record in records
        ]
        runs = [record.ended - record.started for record in records]  # type: ignore[operator]
    except TypeError:
        # One has ended without an attempt.
        _note_times(fresh, [record for record in records if None not in (record.started, record.ended)])
    else:
        fresh.waits += waits
        fresh.runs += runs


def _add(step: Step, fresh: _Fresh) -> None:
    """Add what has ended since the last commit."""
    step.ended = list(map(add, step.ended, fresh.ended))
    step.waits.update(buckets_of(fresh.waits))
    step.runs.update(buckets_of(fresh.runs))


def _start_of(key: bytes, otherwise: int) -> int:
    try:
        return step_in(key)[1]
    except ValueError:
        return otherwise

"""Moves: what changes of tasks' records change in the index and in the counters, in the same commit.

A task enters the facets of its beginning with its first row, and one more with its final state. The single row of its
error follows each change of the error. Nothing else of a task that has not ended is in the index: the table `live` has
its state. When the task is pruned, it leaves all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, Protocol

from ...actors.state import TERMINAL
from ...actors.task.trigger import TASK
from . import counts
from .failure_rows import Failures, has_failed
from .index_rows import KEY_BYTES, Changes, Facet, facet_of, facet_of_id, remove, rows_of, single
from .record import CODES, STATES, Record
from .schema import Table


class Store(counts.Rows, Changes, Protocol):
    """The part of a store that takes the changes."""

    @property
    def batch(self) -> Batch: ...


class Batch(Protocol):
    """The part of an open batch that takes the changes."""

    def merge(self, table: Table, rows: dict[bytes, bytes | None], size: int) -> None: ...


FINAL: Final = frozenset(CODES[state] for state in TERMINAL)
"""The codes of final states."""

RETRIED: Final = facet_of(Facet.RETRIED, "")
"""The facet of the tasks that are not in their first attempt. Each enters it with its second one."""

Shown = tuple[str, int, str | None]
"""What a record on disk says of its task that may change and that the index or the counters hold: its name, the code
of its state, and the type of its error."""


def shown(record: Record) -> Shown:
    """What this record says."""
    error = record.error
    return record.name, CODES[record.state], error[0] if error else None


def end_facet(name: str, code: int) -> bytes:
    """The facet of the tasks of this name that have ended in the state of this code."""
    return facet_of(Facet.END, name, code)


@lru_cache(maxsize=4096)
def trigger_facet(field: str, text: str) -> bytes:
    """The facet of the runs whose trigger has this text in this field."""
    return facet_of(Facet.TRIGGER, f"{field}:{text}")


@lru_cache(maxsize=4096)
def kind_facets(kind: str, event: str | None, schedule: str | None) -> tuple[bytes, ...]:
    """The facets of the runs of this kind whose trigger names this event or this schedule."""
    named = [("event", event), ("schedule", schedule)]
    return (
        facet_of(Facet.KIND, kind),
        *(trigger_facet(field, text) for field, text in named if text is not None),
    )


def further_facets(record: Record) -> list[bytes]:
    """The facets of its beginning, besides its name, whose rows it shares with other tasks."""
    facets = []
    if record.stream != record.id:
        facets.append(facet_of_id(Facet.STREAM, record.stream))
    if record.origin is not None:
        facets.append(facet_of_id(Facet.ORIGIN, record.origin))
    if record.kind != TASK:
        trigger = record.trigger or {}
        event, schedule = trigger.get("event"), trigger.get("schedule")
        facets += kind_facets(
            record.kind,
            event if isinstance(event, str) else None,
            schedule if isinstance(schedule, str) else None,
        )
    return facets


def single_facets(record: Record) -> Iterator[bytes]:
    """The facets of its beginning in which it has a row of its own."""
    if record.key is not None:
        yield facet_of(Facet.KEY, record.key)
    if record.retry_of is not None:
        yield facet_of_id(Facet.RETRY_OF, record.retry_of)


def facets_of(record: Record) -> Iterator[bytes]:
    """All facets of the task whose record on disk is this one."""
    name, code, error = shown(record)
    yield facet_of(Facet.NAME, name)
    if code in FINAL:
        yield end_facet(name, code)
    if error is not None:
        yield facet_of(Facet.ERROR, error)
    if record.attempt > 1:
        yield RETRIED
    yield from further_facets(record)
    yield from single_facets(record)


class Moves:
    """The changes of one commit, gathered by what the tasks have in common."""

    __slots__ = ("_append", "_before", "_by_change", "_entered", "_left", "_now", "_single", "failures")

    def __init__(self) -> None:
        self._by_change: defaultdict[tuple[Shown | None, Shown | None], list[bytes]] = defaultdict(list)
        self._entered: defaultdict[bytes, list[bytes]] = defaultdict(list)
        self._left: defaultdict[bytes, list[bytes]] = defaultdict(list)
        #: Single rows: empty to put, None to delete.
        self._single: dict[bytes, bytes | None] = {}
        # The last change, and what adds an id to it. Most tasks of a commit change in the same way.
        self._before: Shown | None = None
        self._now: Shown = ("", -1, None)
        none: list[bytes] = []
        self._append = none.append
        #: Tasks that have failed.
        self.failures = Failures()

    def __bool__(self) -> bool:
        return bool(self._by_change)

    def note(self, record: Record, code: int, before: Shown | None) -> Shown:
        """The task's row, in which the state has this code, is put; returns what it says.

        `before` is what the row on disk says; None if the task is new.
        """
        now, error = self._now, record.error
        if error is not None or now[2] is not None or now[1] != code or now[0] != record.name:
            now = record.name, code, error[0] if error else None
        if before is not self._before or now is not self._now:
            if before == now:
                return now
            self._before, self._now = before, now
            self._append = self._by_change[before, now].append
        self._append(record.id)
        # Most new tasks have neither an origin nor any of the fields that few records have.
        if before is None and (record.origin is not None or record.stream != record.id or record.__dict__):
            id, entered = record.id, self._entered
            for facet in further_facets(record):
                entered[facet].append(id)
            if record.key is not None or record.retry_of is not None:
                for facet in single_facets(record):
                    self._single[single(facet, id)] = b""
        return now

    def add(self, record: Record) -> None:
        """The task is new."""
        self.note(record, CODES[record.state], None)

    def enter(self, id: bytes, now: Shown) -> None:
        """The task is new and stands in no further facets."""
        self._by_change[None, now].append(id)

    def take_in(self, record: Record) -> None:
        """The task may be of any age, and nothing of it is in the index so far."""
        self.add(record)
        if record.attempt > 1:
            self._single[single(RETRIED, record.id)] = b""
        if has_failed(record):
            self.failures.add(record)

    def fail(self, record: Record) -> None:
        """The task's row, which is new or changes in the same commit, says for the first time that it has failed."""
        self.failures.add(record)

    def remove(self, record: Record) -> None:
        """The task's row, which says this, is deleted."""
        if has_failed(record):
            self.failures.remove(record)
        if record.attempt > 1:
            self._single[single(RETRIED, record.id)] = None
        self._by_change[shown(record), None].append(record.id)
        for facet in further_facets(record):
            self._left[facet].append(record.id)
        for facet in single_facets(record):
            self._single[single(facet, record.id)] = None

    def counted(self) -> dict[str, list[int]]:
        """By name, how many tasks more or less there are, by the state's code."""
        changed: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(STATES))
        for (before, now), ids in self._by_change.items():
            if before is not None:
                changed[before[0]][before[1]] -= len(ids)
            if now is not None:
                changed[now[0]][now[1]] += len(ids)
        return changed

    def rows(self) -> dict[bytes, bytes | None]:
        """The rows of the index that are put, or deleted for None."""
        entered = self._entered.copy()
        rows = self._single.copy()
        for (before, now), ids in self._by_change.items():
            if now is not None:
                if before is None or before[0] != now[0]:
                    entered[facet_of(Facet.NAME, now[0])] += ids
                if now[1] in FINAL:
                    entered[end_facet(now[0], now[1])] += ids
            old, new = before and before[2], now and now[2]
            if old != new:
                for error, value in ((old, None), (new, b"")):
                    if error is not None:
                        facet = facet_of(Facet.ERROR, error)
                        rows.update((single(facet, id), value) for id in ids)
        for facet, ids in entered.items():
            if len(ids) == 1:
                rows[single(facet, ids[0])] = b""
            else:
                ids.sort()
                rows.update(rows_of(facet, ids))
        return rows

    def left(self) -> dict[bytes, list[bytes]]:
        """The ids that leave the shared rows of a facet; see `index_rows.remove`."""
        left = self._left.copy()
        for (before, now), ids in self._by_change.items():
            if before is not None:
                if now is None or before[0] != now[0]:
                    left[facet_of(Facet.NAME, before[0])] += ids
                if now is None and before[1] in FINAL:
                    left[end_facet(before[0], before[1])] += ids
        return left

    def write(self, store: Store) -> None:
        """Put all of it into the store's open batch."""
        if not self._by_change:
            return
        counts.change(store, self.counted())
        rows = self.rows()
        store.batch.merge(
            Table.INDEX, rows, sum(len(value or b"") for value in rows.values()) + KEY_BYTES * len(rows)
        )
        for facet, ids in self.left().items():
            remove(store, facet, ids)
        if self.failures:
            self.failures.write(store)

"""Reader: read-only access to a store for clients, the CLI and the dashboard, even without a supervisor.

Each answer comes from one snapshot of the disk and costs the supervisor nothing. It may lag behind the
supervisor's own view by one commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgpack

from ..actors.errors import StoreCorrupt, StoreError
from ..actors.state import TERMINAL, State
from .access_reader import AccessReader
from .actor_reader import ActorReader, letters_in
from .bulk_reader import BulkReader
from .event_reader import EventReader
from .item_reader import ItemReader
from .live_rows import parsed
from .query import Term, Value
from .query_fit import ParameterNames
from .schedule_reader import ScheduleReader
from .search import SECONDS, Counts, Page, counts_of, is_indexed, oldest_of, page_of
from .shared_view import Snapshot, release, view_of
from .stats_reader import StatsReader
from .step_reader import StepReader
from .streams import StreamRows, newest_streams
from .tables.record import Record, end_of
from .tables.schema import (
    ID_BYTES,
    Lane,
    Table,
    after_prefix,
    log_key,
    log_seq,
)
from .tie_reader import TieReader
from .totals_reader import TotalsReader
from .tree_reader import TreeReader
from .waiting_reader import WaitingReader

T = TypeVar("T")

LogLine = tuple[float, str, str]
"""Time in seconds since the epoch, level, text."""

End = tuple[bytes, str, bytes | None, Any]
"""Id, final state, encoded value, error of a task that has ended."""


class View(Protocol):
    """What a reader reads; see `SharedView`."""

    @property
    def is_open(self) -> bool:
        """Whether a read needs to open no file."""

    def read(self) -> AbstractContextManager[Snapshot]:
        """A block with the newest committed state."""

    def newest(self) -> int:
        """The number of the newest commit of the file that is open; 0 if none is."""


class Reader(
    AccessReader,
    ActorReader,
    BulkReader,
    EventReader,
    ItemReader,
    ScheduleReader,
    StatsReader,
    StepReader,
    TieReader,
    TotalsReader,
    TreeReader,
    WaitingReader,
):
    """Read-only access to the store of a home. Thread-safe; opens the files at the first read.

    Every method may raise StoreForeign, StoreVersion, StoreCorrupt, HomeError or StoreError. A home without a
    store reads as an empty one.
    """

    def __init__(self, home: Path, view: View | None = None) -> None:
        """`view` is what it reads, by default the home's store on disk."""
        shared = view_of(Path(home)) if view is None else None
        self._shared = shared
        self._view: View = view or cast("View", shared)
        self._home = home
        self._closed = False

    @property
    def is_open(self) -> bool:
        """Whether the store's files are open."""
        return self._view.is_open

    def close(self) -> None:
        """Release the store; may be called twice."""
        if not self._closed:
            self._closed = True
            if self._shared is not None:
                release(self._shared)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def newest(self) -> int:
        """The number of the newest commit, without a read: as long as it stays, there is nothing new.

        It also stays if another file has taken the place of the store's, so read now and then all the same.
        """
        return 0 if self._closed else self._view.newest()

    def record(self, id: bytes) -> Record | None:
        """The record of a task; None if there is no task with this id."""
        row = self._get(Table.TASKS, id)
        return None if row is None else parsed(id, Record.unpack, id, row)

    def record_and_depth(self, id: bytes) -> tuple[Record, int] | None:
        """The record of a task and how many messages its mailbox holds; None if there is no task with this id."""
        with self._read() as snapshot:
            row = snapshot.get(Table.TASKS, id)
            return None if row is None else (parsed(id, Record.unpack, id, row), _depth(snapshot, id))

    def ends(self, id: bytes, rows: int = 1, ahead_bytes: int = 0) -> list[End]:
        """The end of this task, and those of tasks after it; empty if this one has not ended.

        It looks at `rows` tasks in the order of their ids. Of the later ones it leaves out those that have not ended,
        those with a damaged record, and those whose values and errors together would take more than `ahead_bytes`.
        """
        with self._read() as snapshot:
            row = snapshot.get(Table.TASKS, id)
            end = None if row is None else _end(snapshot, id, row)
            if end is None:
                return []
            found = [end]
            if rows == 1:
                return found
            for later, row in islice(snapshot.rows(Table.TASKS, id + b"\0"), rows - 1):
                try:
                    end = _end(snapshot, later, row, ahead_bytes - len(row))
                except StoreCorrupt:
                    continue  # A read of that task itself raises this.
                if end is not None:
                    found.append(end)
                    ahead_bytes -= len(row) + len(end[2] or b"")
            return found

    def records(
        self,
        *,
        states: Collection[State] | None = None,
        name: str | None = None,
        stream: bytes | None = None,
        metadata: Mapping[str, str] | None = None,
        older_than: float | None = None,
        newer_than: float | None = None,
        limit: int | None = 100,
        before: bytes | None = None,
    ) -> list[Record]:
        """At most `limit` tasks, newest first, with ids below `before` (for the next page).

        `metadata`: entries that a task must have; it may have others.

        `older_than` and `newer_than` are times of creation, in seconds since the epoch. What the index knows costs
        time only for the tasks that are found: names, states, streams. `metadata` is compared with each of these.
        """
        terms: list[Term] = []
        if states is not None:
            terms.append(Term("state", (), 1, states=frozenset(states)))
        if name is not None:
            terms.append(Term("task", (Value(name, 1, quoted=True),), 1))
        if stream is not None:
            terms.append(Term("stream", (), 1, ids=(stream,)))
        if older_than is not None:
            terms.append(Term("older", (), 1, at=older_than))
        if newer_than is not None:
            terms.append(Term("newer", (), 1, at=newer_than))

        def fits(record: Record) -> bool:
            # A name in a query may lack its module.
            return (name is None or record.name == name) and (
                not metadata or metadata.items() <= (record.metadata or {}).items()
            )

        with self._read() as snapshot:
            return page_of(snapshot, terms, limit=limit, before=before, seconds=None, also=fits).records

    def search(
        self,
        terms: Iterable[Term],
        *,
        limit: int,
        before: bytes | None = None,
        seconds: float | None = SECONDS,
        now: float | None = None,
        names_of: ParameterNames | None = None,
        also: Callable[[Record], bool] | None = None,
    ) -> Page:
        """The newest tasks that fit all terms of a query, at most `limit`, with ids below `before`; see `page_of`."""
        with self._read() as snapshot:
            return page_of(
                snapshot,
                terms,
                limit=limit,
                before=before,
                seconds=seconds,
                now=now,
                names_of=names_of,
                also=also,
            )

    def streams(
        self, limit: int | None, before: bytes | None = None, seconds: float | None = SECONDS
    ) -> StreamRows:
        """The streams to which something was added last; see `newest_streams`."""
        with self._read() as snapshot:
            return newest_streams(snapshot, limit=limit, before=before, seconds=seconds)

    def stream_tasks(self, stream: bytes, most: int) -> list[Record]:
        """Tasks of a stream, the oldest ones, at most so many, oldest first."""
        with self._read() as snapshot:
            return oldest_of(snapshot, stream, most)

    def counts(self) -> Counts:
        """How many tasks of each name are in each state, without zeros. StoreError before the store's upgrade."""
        with self._read() as snapshot:
            if snapshot.transaction is not None and not is_indexed(snapshot):
                raise StoreError(
                    f"the store in {self._home} is of an older release and has no counters yet; "
                    "start a supervisor on it once, which upgrades it"
                )
            return counts_of(snapshot)

    def result(self, id: bytes) -> bytes | None:
        """The encoded result; None for the result None, and for a task that has not returned."""
        return self._get(Table.RESULTS, id)

    def args(self, id: bytes) -> bytes | None:
        """The encoded arguments; None if there are none."""
        return self._get(Table.ARGS, id)

    def checkpoint(self, id: bytes) -> bytes | None:
        """The encoded value of the last checkpoint; None if there is none."""
        return self._get(Table.CHECKPOINTS, id)

    def mailbox_depth(self, id: bytes) -> int:
        """How many messages are in the task's mailbox: sent and not yet acknowledged."""
        with self._read() as snapshot:
            return _depth(snapshot, id)

    def messages(self, id: bytes, limit: int = 100) -> list[bytes]:
        """The encoded messages in the task's mailbox, oldest first: sent and not yet acknowledged."""
        with self._read() as snapshot:
            return [row for _, row in islice(snapshot.rows(Table.MAIL, id, after_prefix(id)), limit)]

    def logs(self, id: bytes, after: int = 0, limit: int = 1000) -> list[tuple[int, list[LogLine]]]:
        """Chunks of the task's log with a sequence number above `after`, oldest first; all chunks for 0.

        Chunks count from 1. If the log has lost its oldest lines, chunk 0 comes first and says how many.
        """
        first = after + 1 if after > 0 else 0
        chunks: list[tuple[int, list[LogLine]]] = []
        with self._read() as snapshot:
            for key, row in snapshot.rows(Table.LOGS, log_key(id, first), after_prefix(id)):
                if len(chunks) >= limit:
                    break
                try:
                    lines = [(time, level, text) for time, level, text in msgpack.unpackb(row)]
                except (ValueError, TypeError, msgpack.UnpackException) as error:
                    raise StoreCorrupt(
                        f"the log of task {id.hex()} is damaged; run `understudy check`"
                    ) from error
                chunks.append((log_seq(key), lines))
        return chunks

    def resolve(self, prefix: str, limit: int = 10) -> list[bytes]:
        """At most `limit` ids that start with these hex digits, in order. Dashes are optional."""
        digits = _hex_digits(prefix)
        if not digits:
            return []
        start = bytes.fromhex(digits.ljust(2 * ID_BYTES, "0"))
        last = bytes.fromhex(digits.ljust(2 * ID_BYTES, "f"))
        found: list[bytes] = []
        with self._read() as snapshot:
            for id, _ in snapshot.rows(Table.TASKS, start, last + b"\0"):
                if len(found) >= limit:
                    break
                found.append(id)
        return found

    def resolve_end(self, suffix: str, limit: int = 10) -> list[bytes]:
        """At most `limit` ids that end with these hex digits, newest first. Looks through the ids of all tasks."""
        digits = _hex_digits(suffix)
        if not digits:
            return []
        # Whole bytes are compared first: making a text of each id would take ten times as long.
        tail = bytes.fromhex(digits[len(digits) % 2 :])
        found: list[bytes] = []
        with self._read() as snapshot:
            for id, _ in snapshot.rows(Table.TASKS, reverse=True):
                if len(found) >= limit:
                    break
                if id.endswith(tail) and id.hex().endswith(digits):
                    found.append(id)
        return found

    def count(self, table: Table) -> int:
        """How many rows the table has."""
        with self._read() as snapshot:
            return snapshot.count(table)

    def unended(self, most: int = 100_000) -> tuple[int, int]:
        """How many tasks have not ended: queued and running ones, and idle actors.

        The idle ones may be millions and are not counted one by one: if there are any, and at least `most` others, all
        of them count as others.
        """
        with self._read() as snapshot:
            total = snapshot.count(Table.LIVE)
            idle = bytes((Lane.IDLE,))
            if next(snapshot.rows(Table.LIVE, idle), None) is None:
                return total, 0
            before = snapshot.rows(Table.LIVE, stop=idle)
            behind = snapshot.rows(Table.LIVE, bytes((Lane.IDLE + 1,)))
            others = sum(1 for _ in islice(chain(before, behind), most))
            return (others, total - others) if others < most else (total, 0)

    def _read(self) -> AbstractContextManager[Snapshot]:
        if self._closed:
            raise StoreError("the reader was closed; make a new one")
        return self._view.read()

    def _get(self, table: Table, key: bytes) -> bytes | None:
        with self._read() as snapshot:
            return snapshot.get(table, key)


def _depth(snapshot: Snapshot, id: bytes) -> int:
    return sum(1 for _ in snapshot.rows(Table.MAIL, id, after_prefix(id))) + letters_in(snapshot, id)


def _end(snapshot: Snapshot, id: bytes, row: bytes, most: int | None = None) -> End | None:
    """The end of a task by its row; None if it has not ended, its value is missing or takes more bytes than `most`."""
    state, result, error = parsed(id, end_of, row)
    if state not in TERMINAL:
        return None
    if most is not None and (result or 0) > most:
        return None
    if result is None:
        return id, state, None, error
    value = snapshot.get(Table.RESULTS, id)
    return None if value is None else (id, state, value, error)


def _hex_digits(text: str) -> str:
    """The digits of a part of an id, without dashes; empty if it is no such part."""
    digits = text.replace("-", "").strip().lower()
    return digits if len(digits) <= 2 * ID_BYTES and set(digits) <= set("0123456789abcdef") else ""

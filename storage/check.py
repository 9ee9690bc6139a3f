"""The check of a store: first its pages, then whether its rows agree with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from ..actors.errors import StoreCorrupt
from ..actors.state import TERMINAL, State
from .check_access import AccessCheck
from .check_actors import ActorCheck
from .check_bulks import BulkCheck
from .check_events import EventCheck
from .check_index import IndexCheck
from .check_items import ItemCheck
from .check_schedules import ScheduleCheck
from .check_stats import FailureCheck, run_problem, step_problems
from .check_steps import StepCheck
from .check_ties import TieCheck
from .check_trees import TreeCheck
from .environment import write_copy
from .file.header import inspect
from .file.lmdb_errors import translated
from .file.names import draft, store_file
from .file.page_check import problems_of
from .shared_view import SharedView, Snapshot, release, view_of
from .tables.bulk_rows import all_rows
from .tables.record import Record
from .tables.schema import (
    ID_BYTES,
    SCHEMA_ROW,
    SCHEMA_VERSION,
    Lane,
    Table,
    expiry_ids,
    idempotency_key,
    live_id,
    state_in,
)
from .tables.step_rows import MARKS

Progress = Callable[[int, int], None]
"""Called with the number of rows checked and the number of all rows."""

MAX_PROBLEMS: Final = 1000
"""Problems listed; further ones are only counted."""

_CHUNK: Final = 100_000  # live tasks matched with their rows at a time; limits memory to about 20 MB
_PROGRESS_ROWS: Final = 10_000
#: Copies that must be damaged: a commit may come between the header of a copy and its pages.
_COPIES: Final = 3


@dataclass(slots=True)
class Report:
    """The result of a check."""

    #: One line for each problem, at most MAX_PROBLEMS, and a last line that counts the rest. Empty if sound.
    problems: list[str] = field(default_factory=list)
    #: Rows by table; empty if the pages are damaged.
    counts: dict[Table, int] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        return not self.problems


def check(home: Path, progress: Progress | None = None) -> Report:
    """Check every page and every row. Changes nothing; a supervisor may work meanwhile.

    A home without a store is sound. Raises StoreForeign or StoreVersion if the store cannot be checked, and
    HomeError or StoreError if it cannot be read. May need room in the home for a copy of the store.
    """
    home = Path(home)
    try:
        if inspect(store_file(home)) is None:
            return Report(counts=dict.fromkeys(Table, 0))
    except StoreCorrupt as error:
        return Report(problems=error.problems)
    view = view_of(home)
    try:
        if problems := _page_problems(view):
            return Report(problems=problems)  # LMDB trusts pages, so it must not read damaged ones
        with view.read() as snapshot:
            return _Rows(snapshot, progress).report()
    finally:
        release(view)


def _page_problems(view: SharedView) -> list[str]:
    path = view.path
    before = inspect(path)
    problems = problems_of(path)
    after = inspect(path)
    if not problems or before is None or after is None or before.txnid == after.txnid:
        return problems
    # A writer changed pages during the check, so check a copy that does not change.
    for _ in range(_COPIES):
        with translated("make a copy of the store in", view.home), draft(view.home, "check") as copy:
            with view.read() as snapshot:
                if snapshot.env is None:
                    return []
                write_copy(snapshot.env, copy, compact=False)
            if not (problems := problems_of(copy)):
                break
    return problems


class _Rows:
    """The check of the rules between tables, in one snapshot."""

    def __init__(self, snapshot: Snapshot, progress: Progress | None) -> None:
        self._snapshot = snapshot
        self._progress = progress
        self._counts = {table: snapshot.count(table) for table in Table}
        self._total = sum(self._counts.values())
        self._done = 0
        self._problems: list[str] = []
        self._unlisted = 0
        # An older version has no index before its upgrade.
        current = snapshot.get(Table.META, SCHEMA_ROW) == b"%d" % SCHEMA_VERSION
        self._index = IndexCheck() if current else None
        self._failures = FailureCheck()
        self._trees = TreeCheck(snapshot, self._record)
        self._steps = StepCheck(snapshot, self._record)
        self._ties = TieCheck(snapshot, self._record)

    def report(self) -> Report:
        self._tasks()
        self._live()
        for table in (Table.ARGS, Table.CHECKPOINTS, Table.RESULTS, Table.MAIL, Table.LOGS, Table.ATTEMPTS):
            self._belongings(table)
        self._keys()
        self._expiry()
        self._actors()
        self._events()
        self._schedules()
        self._items()
        self._meta()
        self._index_and_counts()
        self._tell(self._total)
        if self._unlisted:
            self._problems.append(f"and {self._unlisted} more")
        return Report(self._problems, self._counts)

    def _problem(self, line: str) -> None:
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(line)
        else:
            self._unlisted += 1

    def _tell(self, done: int) -> None:
        if self._progress is not None:
            self._progress(done, self._total)

    def _walk(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        for row in self._snapshot.rows(table):
            if self._done % _PROGRESS_ROWS == 0:
                self._tell(self._done)
            self._done += 1
            yield row

    def _record(self, id: bytes) -> Record | None:
        """The task's record; None if it is missing or unreadable (`_tasks` reports the latter)."""
        row = self._snapshot.get(Table.TASKS, id) if id else None
        try:
            return None if row is None else Record.unpack(id, row)
        except ValueError:
            return None

    def _exists(self, id: bytes) -> bool:
        return bool(id) and self._snapshot.get(Table.TASKS, id) is not None

    def _tasks(self) -> None:
        """Every record parses, and every task that has not ended has exactly one live row."""
        unended = self._unended()
        while chunk := set(islice(unended, _CHUNK)):
            seen: set[bytes] = set()
            for key, _ in self._snapshot.rows(Table.LIVE):
                id = live_id(key)
                if id in chunk:
                    if id in seen:
                        self._problem(f"task {id.hex()} has more than one live row")
                    seen.add(id)
            for id in sorted(chunk - seen):
                self._problem(
                    f"task {id.hex()} has not ended and has no live row, so it would never run again"
                )

    def _unended(self) -> Iterator[bytes]:
        for id, row in self._walk(Table.TASKS):
            if len(id) != ID_BYTES:
                self._problem(f"task {id.hex()} has an id of {len(id)} bytes")
            try:
                record = Record.unpack(id, row)
            except ValueError as error:
                self._problem(f"task {id.hex()}: {error}")
                if self._index is not None:
                    self._index.damaged += 1
                self._failures.damaged += 1
                continue
            if self._index is not None and len(id) == ID_BYTES:
                self._index.add(record)
                self._failures.add(record)
            if record.held or (record.tree is not None and not record.terminal):
                for problem in self._trees.child(record):
                    self._problem(problem)
            for problem in self._steps.without_rows(record):
                self._problem(problem)
            if _ended(record) != record.terminal:
                self._problem(f"task {id.hex()} is {record.state} but the time of its end is {record.ended}")
                self._failures.damaged += 1
            if not _ended(record):
                if record.linked:
                    for problem in self._ties.child(record):
                        self._problem(problem)
                yield id

    def _live(self) -> None:
        """Every live row belongs to a task that has not ended, and its lane fits the task's state."""
        for key, _ in self._walk(Table.LIVE):
            id = live_id(key)
            record = self._record(id)
            if len(key) != 9 + ID_BYTES or key[0] not in set(Lane):
                self._problem(f"live row {key.hex()} is malformed")
            elif not self._exists(id):
                self._problem(f"live row {key.hex()} has no task")
            elif record is not None and _ended(record):
                self._problem(f"task {id.hex()} is {record.state} but has a live row")
            elif record is not None and record.state is not state_in(key[0]):
                self._problem(f"task {id.hex()} is {record.state} but in the lane {Lane(key[0]).name}")

    def _belongings(self, table: Table) -> None:
        """Every row of a table keyed by task id has a task, in a state that allows the row."""
        owner: Record | None = None
        known = False
        for key, row in self._walk(table):
            id = key[:ID_BYTES]
            if owner is None or owner.id != id:
                owner = self._record(id)
                known = self._exists(id)
            if not known:
                self._problem(f"row {key.hex()} of {table} has no task")
            elif owner is not None and table is Table.MAIL and owner.state is State.COMPLETED:
                self._problem(f"task {id.hex()} is {owner.state} but has the message {key.hex()}")
            elif owner is not None and table is Table.RESULTS and not _ended(owner):
                self._problem(f"task {id.hex()} is {owner.state} but has a result")
            elif table is Table.ATTEMPTS and (wrong := run_problem(key, row, owner)) is not None:
                self._problem(f"attempt {key.hex()} of task {id.hex()}: {wrong}")

    def _keys(self) -> None:
        for key, id in self._walk(Table.KEYS):
            record = self._record(id)
            if not self._exists(id):
                self._problem(f"idempotency key {key!r} points to task {id.hex()}, which does not exist")
            elif record is not None and (not record.key or idempotency_key(record.key) != key):
                self._problem(
                    f"idempotency key {key!r} points to task {id.hex()}, whose key is {record.key!r}"
                )

    def _expiry(self) -> None:
        for key, value in self._walk(Table.EXPIRY):
            for id in expiry_ids(key, value):
                record = self._record(id)
                if not self._exists(id):
                    self._problem(f"expiry row {key.hex()} has no task {id.hex()}")
                elif record is not None and not _ended(record):
                    self._problem(f"task {id.hex()} is {record.state} but has an expiry row")

    def _actors(self) -> None:
        rows = ActorCheck(self._snapshot, self._record, self._exists)
        for key, row in self._walk(Table.ACTORS):
            for problem in rows.problems(key, row):
                self._problem(problem)
        for problem in rows.end():
            self._problem(problem)

    def _events(self) -> None:
        rows = EventCheck(self._snapshot, self._record, self._exists)
        for key, row in self._walk(Table.EVENTS):
            for problem in rows.problems(key, row):
                self._problem(problem)

    def _schedules(self) -> None:
        rows = ScheduleCheck(self._snapshot, self._record)
        for key, row in self._walk(Table.SCHEDULES):
            for problem in rows.problems(key, row):
                self._problem(problem)

    def _items(self) -> None:
        items = ItemCheck(self._snapshot, self._exists)
        for key, row in self._walk(Table.ITEMS):
            for problem in items.problems(key, row):
                self._problem(problem)

    def _meta(self) -> None:
        access, bulks = AccessCheck(), BulkCheck(self._snapshot)
        first, end = all_rows()
        for key, row in self._walk(Table.META):
            for problem in (bulks if first <= key < end else access).problems(key, row):
                self._problem(problem)

    def _index_and_counts(self) -> None:
        if self._index is not None:
            index = self._index
            for problem in index.problems(self._walk(Table.INDEX), self._walk(Table.COUNTS)):
                self._problem(problem)
            for problem in self._failures.problems(self._walk(Table.FAILURES)):
                self._problem(problem)
        for problem in step_problems(self._walk(Table.STATS), self._snapshot.get(Table.STATS, MARKS)):
            self._problem(problem)


def _ended(record: Record) -> bool:
    return record.state in TERMINAL

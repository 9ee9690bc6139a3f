"""Schedules: those that the code declares, those that programs make, and the timer for the first that is due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from ...actors.errors import InvalidOption, InvalidValue, UnderstudyError
from ...actors.schedules.definition import MOST_TIMES, Definition, check_key, check_time
from ...storage.tables.schedule_rows import ScheduleRow, Span
from ...storage.tables.schema import ID_BYTES
from ..settings import Settings
from .alarm import Alarm
from .commit_loop import BACKLOG_HIGH, CommitLoop
from .events import Events
from .schedule_runs import CANCELLED, OVER, ScheduleRuns
from .schedule_store import NEW, ScheduleStore
from .task_table import TaskTable

log = logging.getLogger("understudy")

#: Schedules that one turn advances.
AT_ONCE: Final = 500
#: Seconds between two looks for room on a full disk, and for a disk that is behind.
ROOM_LOOK: Final = 1.0
BEHIND_LOOK: Final = 0.025
#: Seconds until a schedule is tried again that an error has kept from running.
TRY_AGAIN: Final = 3_600.0


class Schedules:
    """All schedules of a home."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        events: Events,
        settings: Settings,
        turn: Callable[[], None],
    ) -> None:
        self._clock = commits.clock
        self._store = commits.store
        self._table = table
        self._most = settings.schedules
        self._turn = turn
        self._rows = ScheduleStore(commits.store)
        self.runs = ScheduleRuns(commits, table, events, self._rows)
        self._alarm = Alarm(commits.clock, self._look)
        #: The time of a look that has not dealt with all that was due then. What waits only for its turn is not late.
        self._look_at: float | None = None
        #: Whether the code is loaded. Before that, a schedule may be due that the code has changed.
        self._is_loaded = False
        self._stopped = False
        table.on_declared.append(self.reconcile)

    # --- what the code declares ---

    def reconcile(self) -> None:
        """Take over the schedules that the code declares now. Those that it declares no longer are orphaned."""
        catalog = self._table.declared
        if not catalog.loaded:
            return
        wanted = {
            key: (task, packed) for task, schedules in catalog.schedules.items() for key, packed in schedules
        }
        for key, (task, packed) in wanted.items():
            try:
                self._declare(check_key(key), task, Definition.of(**packed))
            except UnderstudyError as error:
                log.error("schedule %s of the code is left as it was: %s", key, error)  # noqa: TRY400
        now = self._clock.time()
        for key in self._rows.declared():
            if key not in wanted and (row := self._rows.find(key)) is not None and row.orphaned is None:
                before = row.marks
                row.orphaned = now
                self._rows.put(row, before)
                log.warning("schedule %s is paused: the code that was loaded does not declare it", key)
        self._is_loaded = True
        self._set_alarm()

    def _declare(self, key: str, task: str, definition: Definition) -> None:
        row = self._rows.find(key)
        before = NEW if row is None else row.marks
        now = self._clock.time()
        if row is not None:
            is_same = row.task == task and row.definition == definition.pack() and row.declared
            if is_same and row.orphaned is None:
                return
            if not row.declared:
                log.warning("schedule %s was made by a program; now the code declares it", key)
            if row.orphaned is not None:
                row.spans = (*row.spans, Span(row.orphaned, now, "paused: the code did not declare it"))
                row.orphaned = None
            row.args = row.options = row.stream = row.origin = None
            row.depth = 0
        row = self._registered(row, key, task, definition, now)
        row.declared = True
        self._rows.put(row, before)

    # --- what programs make ---

    def schedule(
        self,
        key: Any,
        task: str,
        args: bytes | None,
        options: dict[str, Any] | None,
        packed: Any,
        stream: Any,
        origin: Any,
    ) -> bytes:
        """Make a schedule, or replace that of this key; its row. The caller has checked the task and its arguments.

        The same definition again changes nothing. A pause stays.
        """
        check_key(key)
        definition = Definition.of(**packed)
        for id in (stream, origin):
            if id is not None and not (isinstance(id, bytes) and len(id) == ID_BYTES):
                raise InvalidValue("stream and origin must be ids of 16 bytes")
        row = self._rows.find(key)
        if row is not None and row.declared and row.orphaned is None:
            raise InvalidOption(
                f"the code declares schedule {key}: give this one another key, or change the declaration of {row.task}"
            )
        if (row is None or row.ended is not None) and self._rows.count >= self._most:
            raise InvalidOption(
                f"there are {self._rows.count:,} schedules, and the limit of this supervisor is {self._most:,}. Cancel "
                "some, or raise schedules"
            )
        before = NEW if row is None else row.marks
        made = self._registered(row, key, task, definition, self._clock.time())
        made.args, made.options, made.stream, made.origin = args, options, stream, origin
        made.declared, made.orphaned = False, None
        made.depth = 0
        if origin is not None and (maker := self._table.tasks.get(origin)) is not None:
            made.depth = maker.record.depth
        self._rows.put(made, before)
        self._set_alarm()
        return made.pack()

    def _registered(
        self, row: ScheduleRow | None, key: str, task: str, definition: Definition, now: float
    ) -> ScheduleRow:
        """The schedule with this definition, new or changed. With the same timing it is due as before."""
        if row is None:
            row = ScheduleRow(key, task, definition.pack(), now, now)
            self._rows.changed(1)
            self._set_next(row, definition, definition.first(now))
            return row
        known = Definition.unpack(row.definition)
        is_same = known.timing() == definition.timing()
        row.task, row.definition = task, definition.pack()
        if row.ended is not None:
            is_over = is_same and row.why_ended != CANCELLED and known.limit == definition.limit
            if is_over and definition.after is None:
                return row
            row.ended = row.why_ended = row.paused = row.why_paused = None
            row.counted = row.failures = 0
            row.anchor = now
            self._rows.changed(1)
            self._set_next(row, definition, definition.first(now))
        elif is_same:
            self._set_next(row, definition, row.next)
        else:
            self.runs.skip_overdue(row, known, now)
            row.spans = ()
            if known.every is None or known.every != definition.every:
                row.anchor = now
            row.counted = row.failures = 0
            is_first = definition.at is not None
            self._set_next(
                row, definition, definition.first(now) if is_first else definition.next_after(now, row.anchor)
            )
        return row

    def _set_next(self, row: ScheduleRow, definition: Definition, due: float | None) -> None:
        if due is None:
            self.runs.end(row, OVER)
            return
        row.next, row.begin = due, definition.begin(row.key, due, row.anchor)

    # --- what is done with one of them ---

    def act(self, key: Any, what: Any, *args: Any) -> Any:
        """Carry out a request about one schedule: see `Ask.PLAN`."""
        if not isinstance(key, str):
            raise InvalidOption(f"a schedule is named by its key, not by {key!r:.80}")
        actions: dict[str, Callable[..., Any]] = {
            "pause": self._pause,
            "resume": self._resume,
            "cancel": self._cancel,
            "run": self._run,
            "backfill": self._backfill,
        }
        if what not in actions:
            raise InvalidValue(f"no action on a schedule is called {what!r:.40}")
        row = self._rows.known(key)
        before = row.marks
        try:
            answer = actions[what](row, *args)
        except BaseException:
            self.runs.drop()
            raise
        self._rows.put(row, before)
        self.runs.start()
        self._set_alarm()
        return answer

    def _pause(self, row: ScheduleRow) -> None:
        _check_alive(row)
        if row.paused is None:
            row.paused, row.why_paused = self._clock.time(), "paused by request"

    def _resume(self, row: ScheduleRow) -> None:
        _check_alive(row)
        if row.paused is not None:
            row.spans = (*row.spans, Span(row.paused, self._clock.time(), "paused"))
            row.paused = row.why_paused = None
            row.failures = 0

    def _cancel(self, row: ScheduleRow) -> bool:
        if row.ended is not None:
            return False
        if row.declared and row.orphaned is None:
            raise InvalidOption(
                f"the code declares schedule {row.key}: pause it, or remove the declaration of {row.task}"
            )
        row.declared, row.orphaned = False, None
        self.runs.end(row, CANCELLED)
        return True

    def _run(self, row: ScheduleRow, id: Any) -> bytes:
        if not isinstance(id, bytes) or len(id) != ID_BYTES:
            raise InvalidValue("a run's id must have 16 bytes")
        if self._table.record(id) is None:
            definition = Definition.unpack(row.definition)
            self.runs.make(row, definition, self._clock.time(), waits=False, by="run", id=id)
        return id

    def _backfill(self, row: ScheduleRow, start: Any, end: Any) -> list[bytes]:
        """Runs of the occurrences from `start` to `end` that have none in the history; their ids."""
        start, end = check_time("start", start), check_time("end", end)
        now = self._clock.time()
        if end > now:
            raise InvalidOption("end must not be in the future: those occurrences run when they are due")
        if start > end:
            raise InvalidOption("start must not be after end")
        definition = Definition.unpack(row.definition)
        some = list(islice(definition.times(start - 1e-6, row.anchor), MOST_TIMES + 1))
        wanted = [at for at in some if at <= end]
        if len(wanted) > MOST_TIMES:
            raise InvalidOption(
                f"more than {MOST_TIMES:,} occurrences are between start and end: backfill them in parts"
            )
        if row.next is not None and wanted and wanted[-1] >= row.next:
            # They have not been dealt with: the schedule is paused, or about to run them.
            wanted = [at for at in wanted if at < row.next]
        there = {entry.scheduled_at for entry in self._rows.history(row.key) if entry.run is not None}
        one_by_one = definition.overlap != "allow"
        return [
            self.runs.make(row, definition, at, waits=one_by_one and bool(row.active), by="backfill")
            for at in wanted
            if at not in there
        ]

    # --- time ---

    def stop(self) -> None:
        """Start no more runs."""
        self._stopped = True
        self._alarm.stop()

    def pruned(self) -> None:
        """Ended schedules were deleted by others."""
        self._rows.pruned()

    def clock_was_set(self) -> None:
        """The wall clock was set: occurrences are due at its times."""
        self._alarm.look()

    def _set_alarm(self) -> None:
        """Wait for the first that is due."""
        first = self._rows.first
        if first is None or self._stopped or not self._is_loaded:
            return
        self._alarm.set(first)

    def _look(self) -> None:
        """Advance the schedules that are due, as many as one turn takes."""
        if self._stopped:
            return
        now = self._clock.time()
        if self._store.full or self._store.short:
            self._alarm.set(now + ROOM_LOOK)
            return
        if self._store.pending_bytes > BACKLOG_HIGH:
            self._alarm.set(now + BEHIND_LOOK)
            return
        look_at = now if self._look_at is None else min(now, self._look_at)
        rows = self._rows.due(look_at, AT_ONCE)
        more = len(rows) == AT_ONCE
        for row in rows:
            try:
                more |= self.runs.advance(row, look_at)
            except Exception:
                log.exception("schedule %s is tried again in an hour", row.key)
                self._rows.put_off(row.key, look_at + TRY_AGAIN)
        self.runs.start()
        if more:
            self._look_at = look_at
            self._alarm.set(now)
        else:
            self._look_at = None
            self._rows.look_for_first()
            self._set_alarm()
        if rows:
            self._turn()


def _check_alive(row: ScheduleRow) -> None:
    if row.ended is not None:
        raise InvalidOption(f"schedule {row.key} has ended ({row.why_ended}): schedule it again")

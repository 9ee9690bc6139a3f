"""`ScheduleRuns`: each occurrence becomes a run, or a skip with its reason, in the commit that advances its schedule.

If the runs of a schedule may not overlap, they are listed in its row until they end. One that has to wait is a queued
task from the start, delayed without end. The end of the run before it releases it, in one commit with that end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from ...actors.errors import StoreCorrupt
from ...actors.schedules.cron import LATEST
from ...actors.schedules.definition import Definition
from ...actors.state import State
from ...actors.task.trigger import SCHEDULE, pack_schedule
from ...storage.tables.record import EXTRAS, Record
from ...storage.tables.schedule_rows import Entry, ScheduleRow
from ..rules.due import CHANGED, MOST, NOT_UNIQUE, Due, Pause, judge, step
from .commit_loop import CommitLoop
from .events import Events
from .live_task import LiveTask
from .schedule_store import ScheduleStore
from .task_table import TaskTable
from .unique_tasks import Decision

log = logging.getLogger("understudy")

#: Occurrences of one schedule that one turn deals with.
SLICE: Final = 2 * MOST

#: Why a schedule has ended.
OVER: Final = "over: it has no further occurrence"
LIMIT: Final = "over: it has had all runs of its limit"
CANCELLED: Final = "cancelled"


class ScheduleRuns:
    """Makes the runs of schedules, and hears of their ends."""

    def __init__(self, commits: CommitLoop, table: TaskTable, events: Events, rows: ScheduleStore) -> None:
        self._clock = commits.clock
        self._table = table
        self._events = events
        self._rows = rows
        #: Cancels a task.
        self.cancel: Callable[[bytes], bool] = lambda _: False
        #: Runs of schedules that are written, or about to be. `start` queues them, many at once.
        self._new: list[tuple[Record, bytes | None]] = []
        #: Of those that are unique, how they take their texts.
        self._decisions: dict[bytes, Decision] = {}
        #: The schedule that is being changed: the ends of its runs are seen there.
        self._changing: str | None = None
        table.ends.follow("trigger", self._ended)

    def start(self) -> None:
        """Queue the runs that were made since the last call. They are committed with their schedules."""
        if self._new:
            new, self._new = self._new, []
            for record, _ in new if self._decisions else ():
                if (decision := self._decisions.pop(record.id, None)) is not None:
                    self._table.unique.claim(record, decision)
            self._table.add(new)

    def drop(self) -> None:
        """Forget the runs that were made since the last call of `start`: their schedule was not written."""
        self._new.clear()
        self._decisions.clear()

    def advance(self, row: ScheduleRow, now: float) -> bool:
        """Deal with the occurrences that are due; whether there are more. `start` is to follow."""
        made = len(self._new)
        try:
            return self._advance(row, now)
        except BaseException:
            for record, _ in self._new[made:]:
                self._decisions.pop(record.id, None)
            del self._new[made:]
            raise

    def _advance(self, row: ScheduleRow, now: float) -> bool:
        before, definition = row.marks, Definition.unpack(row.definition)
        due: list[Due] = []
        at, begin = row.next, row.begin
        while at is not None and begin is not None and begin <= now and len(due) < SLICE:
            due.append(Due(at, begin))
            at = definition.next_after(at, row.anchor)
            begin = None if at is None else definition.begin(row.key, at, row.anchor)
        is_all = begin is None or begin > now
        pauses = [Pause(*span) for span in row.spans]
        judged = judge(due, is_all, now, definition.missed, definition.missed_within, pauses)
        if len(judged) < len(due):
            at, begin = due[len(judged)]
        row.next, row.begin = at, begin
        self._settle(row, definition, due, judged)
        if row.next is None and row.ended is None:
            self.end(row, OVER)
        if row.spans:
            # Occurrences before `last` are over, and so are the pauses that lie before it.
            row.spans = tuple(span for span in row.spans if row.next is not None and row.next <= span.end)
        self._rows.put(row, before)
        return not is_all or len(judged) < len(due)

    def skip_overdue(self, row: ScheduleRow, definition: Definition, now: float) -> None:
        """Skip what is due of a definition that is about to be replaced, up to 1,000 occurrences."""
        due: list[Due] = []
        at = row.next
        while at is not None and at <= now and len(due) < MOST:
            due.append(Due(at, at))
            at = definition.next_after(at, row.anchor)
        self._settle(row, definition, due, [CHANGED] * len(due))

    def _settle(
        self, row: ScheduleRow, definition: Definition, due: Iterable[Due], judged: Iterable[str | None]
    ) -> None:
        """A run or a skip for each of these occurrences."""
        skipped: dict[str, list[float]] = {}
        for each, judgement in zip(due, judged, strict=False):
            reason = judgement or self._begin(row, definition, each.at)
            row.last = each.at
            if reason is not None:
                skipped.setdefault(reason, []).append(each.at)
                row.skips += 1
                self._rows.enter(row, Entry(each.at, self._clock.time(), None, reason))
            elif definition.limit is not None and row.counted >= definition.limit:
                self.end(row, LIMIT)
                break
        for reason, times in skipped.items():
            data = {
                "schedule": row.key,
                "task": row.task,
                "scheduled_at": times[-1],
                "reason": reason,
                "count": len(times),
                "first": times[0],
            }
            self._events.notice("understudy.schedule.skipped", data)

    def _begin(self, row: ScheduleRow, definition: Definition, at: float) -> str | None:
        """Make the run of an occurrence; why there is none, or None."""
        wanted = step(definition.overlap, len(row.active))
        if wanted.skip is not None:
            return wanted.skip
        if self._is_taken(self._decision(row)):
            return NOT_UNIQUE
        if wanted.cancels:
            self._cancel_active(row)
        row.counted += 1
        self.make(row, definition, at, waits=wanted.waits and bool(row.active))
        return None

    def make(
        self,
        row: ScheduleRow,
        definition: Definition,
        at: float,
        *,
        waits: bool,
        by: str | None = None,
        id: bytes | None = None,
    ) -> bytes:
        """Make a run with its entry of the history; its id. One that `waits` begins when those before it have ended.

        `start` is to follow. NotUnique if its task is unique and another one has its key.
        """
        now = self._clock.time()
        run = self._clock.new_id() if id is None else id
        decision = self._decision(row)
        if decision is not None:
            if self._is_taken(decision):
                raise self._table.unique.refusal(decision)
            self._decisions[run] = decision
        options, extras = row.options, {}
        if options is not None and not EXTRAS.isdisjoint(options):
            extras = {name: options[name] for name in EXTRAS if name in options}
            options = {name: value for name, value in options.items() if name not in EXTRAS} or None
        stream = row.stream if definition.is_single and row.stream is not None else run
        record = Record(
            run,
            self._table.declared.present(row.task),
            now,
            stream,
            row.origin,
            options,
            None,
            LATEST if waits else None,
        )
        record.kind, record.trigger = SCHEDULE, pack_schedule(row.key, at)
        if row.depth:
            record.depth = row.depth
        for name, value in extras.items():
            if name != "unique_key":
                setattr(record, name, value)
        self._new.append((record, row.args))
        row.runs += 1
        if definition.overlap != "allow":
            row.active = (*row.active, (run, waits))
        self._rows.enter(row, Entry(at, now, run, None, by))
        return run

    def _decision(self, row: ScheduleRow) -> Decision | None:
        """What a run would do if its task is unique; None if it is not."""
        unique, name = self._table.unique, self._table.declared.present(row.task)
        return unique.decide(name, row.args, row.options) if unique.concerns(name, row.options) else None

    def _is_taken(self, decision: Decision | None) -> bool:
        """Whether there is a task with the key of a unique run, or one is about to be queued."""
        if decision is None:
            return False
        about = any(other.text == decision.text for other in self._decisions.values())
        return about or not decision.is_free

    def end(self, row: ScheduleRow, why: str) -> None:
        """A schedule has ended."""
        row.ended, row.why_ended = self._clock.time(), why
        row.next = row.begin = None
        row.spans = ()
        self._rows.changed(-1)

    # --- runs that have not ended ---

    def _cancel_active(self, row: ScheduleRow) -> None:
        """Cancel the runs of a schedule that have not ended. Those that run end later."""
        self.start()
        self._changing = row.key
        try:
            # The newest first: so no end of one releases another.
            for run, _ in reversed(row.active):
                if self._table.find(run) is not None:
                    self.cancel(run)
        finally:
            self._changing = None
        row.active = tuple(each for each in row.active if self._table.find(each[0]) is not None)

    def _ended(self, task: LiveTask, _event: object, _error: object) -> None:
        """A run has ended: the next one that waits begins, and failures are counted."""
        record = task.record
        key = (record.trigger or {}).get("schedule")
        if not isinstance(key, str) or key == self._changing:
            return
        try:
            row = self._rows.find(key)
        except StoreCorrupt:
            log.exception("the end of a run of schedule %s is not noted", key)
            return
        if row is None:
            return
        before = row.marks
        changed = self._count(row, record.state) | self._let_go(row, task.id)
        if changed:
            self._rows.put(row, before)
        else:
            self._rows.keep(row)

    def _count(self, row: ScheduleRow, state: State) -> bool:
        """Count failures in a row; whether the schedule has changed."""
        if state is State.COMPLETED:
            changed, row.failures = row.failures > 0, 0
            return changed
        if state not in (State.FAILED, State.TIMED_OUT):
            return False
        row.failures += 1
        most = row.definition.get("pause_after")
        if most is not None and row.failures >= most and row.is_active:
            row.paused = self._clock.time()
            row.why_paused = f"{row.failures:,} runs in a row have failed"
            log.warning("schedule %s is paused: %s", row.key, row.why_paused)
            data = {"schedule": row.key, "task": row.task, "failures": row.failures}
            self._events.notice("understudy.schedule.paused", data)
        return True

    def _let_go(self, row: ScheduleRow, run: bytes) -> bool:
        """Take a run that has ended off the list, and begin the next one that waits; whether it was on the list."""
        left = [each for each in row.active if each[0] != run]
        if len(left) == len(row.active):
            return False
        while left and left[0][1]:
            task = self._table.find(left[0][0])
            if task is not None:
                left[0] = (left[0][0], False)
                self._table.release(task)
                break
            del left[0]
        row.active = tuple(left)
        return True

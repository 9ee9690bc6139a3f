"""A task that has not ended, as the supervisor holds it in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...actors.state import TERMINAL, Event, State, after
from ...actors.task.options import Options
from ...actors.task.trigger import TASK
from ...storage.tables.moves import Shown
from ...storage.tables.record import Record
from ...storage.tables.schema import ID_BYTES, Lane, code_sort, due_sort, live_key, ready_sort
from ..rules.verdict import ErrorRow
from ..task_kinds import TaskKind, kind_of
from .catalog import Place
from .pool_lanes import ABSENT, AnyLane, PoolLane

if TYPE_CHECKING:
    from .attempt import Attempt
    from .gate_group import GateGroup
    from .kept_steps import KeptSteps
    from .mailboxes import MailboxState
    from .task_log import TaskLog

_RUNNING: Final[Place] = (int(Lane.RUNNING), 0)
_RUNNING_PREFIX: Final = live_key(*_RUNNING, b"")[:-ID_BYTES]


def place_of(record: Record, options: Options, lane: AnyLane, group: GateGroup | None = None) -> Place:
    """The place in the `live` table of a task that is on no worker."""
    if record.held:
        return Lane.HELD, 0
    if record.due is not None:
        return Lane.DELAYED, due_sort(record.due)
    if lane in ABSENT:
        return lane, code_sort(record.name)
    if group is not None:
        return Lane.GATE, group.sort + ready_sort(options.priority)
    if isinstance(lane, PoolLane):
        return lane.place(options.priority)
    return lane, ready_sort(options.priority)


class LiveTask:
    """One task. Its record is durable; the rest may be lost with the supervisor.

    The transitions here change the record and the place in the `live` table. `TaskTable` calls them; it also keeps the
    queues, writes the change and reports it.
    """

    __slots__ = (
        "args",
        "attempt",
        "batch",
        "counts",
        "dirty",
        "group",
        "id",
        "key",
        "lane",
        "log",
        "mailbox",
        "options",
        "passed",
        "record",
        "result",
        "steps",
        "stored",
        "stored_facts",
        "stored_key",
        "told",
    )

    rests = False
    """Whether it is an actor, which rests between its turns."""

    def __init__(self, record: Record, options: Options, lane: AnyLane, *, stored: bool) -> None:
        self.id = record.id
        self.record = record
        self.options = options
        #: Where it runs when it is ready.
        self.lane = lane
        #: Whether the disk may hold rows of it that this process has not written: mail, log, arguments.
        self.stored = stored
        #: Its row in the `live` table as it should be, and as it is or is about to be on disk.
        self.key: bytes | None = None
        self.stored_key: bytes | None = None
        #: What the index and the counters hold of it; None if it has no row yet.
        self.stored_facts: Shown | None = None
        self.dirty = False
        #: Number of the last batch that its rows went into.
        self.batch = 0
        self.args: bytes | None = None
        self.result: bytes | None = None
        #: None while it is queued.
        self.attempt: Attempt | None = None
        #: The key of a limit at which it waits; None if it has no limit.
        self.group: GateGroup | None = None
        #: Whether it holds a place there, and whether it counts for a rate and is not known to have begun.
        self.passed = self.counts = False
        self.mailbox: MailboxState | None = None
        self.log: TaskLog | None = None
        #: The steps that it keeps; None if there are none.
        self.steps: KeptSteps | None = None
        #: Whether its stream has rows or other tasks, so that its end needs a row there.
        self.told = record.shares_stream or (
            stored and (record.attempt > 1 or record.interruptions > 0 or self.rests)
        )

    @property
    def kind(self) -> TaskKind:
        """What sets it apart from tasks of other kinds."""
        return kind_of(self.record.name)

    @property
    def as_stored(self) -> bool:
        """Whether it was read from disk and has not been written since: another declaration may have placed it."""
        return self.batch == 0 and self.stored_key is not None

    @property
    def queued(self) -> bool:
        """Ready or delayed, and with no worker."""
        return self.attempt is None and self.record.ended is None

    @property
    def parked(self) -> bool:
        """Whether it is on a worker and waits there."""
        return self.attempt is not None and self.attempt.parked

    def assignment(self) -> tuple[Any, ...]:
        """What the worker is told: the fields of an Assignment, in their order (a plain tuple is made faster)."""
        record, options = self.record, self.options
        assignment = (
            record.id,
            record.name,
            record.attempt,
            self.args,
            record.stream,
            record.origin,
            options.ack,
            options.timeout,
            record.checkpoint is not None,
            record.interruptions,
            options.capture_output,
        )
        if self.steps is not None:
            steps = self.steps.first_page(record)
            return (*assignment, None, record.kind, record.trigger, record.tree, record.trace, steps)
        if record.kind == TASK and (record.tree is None or self.rests) and record.trace is None:
            return assignment
        return (*assignment, None, record.kind, record.trigger, record.tree, record.trace)

    def row(self) -> tuple[bytes, bytes | None]:
        """The record and the `live` key that belong on disk.

        While a task may be taken back from its worker, that is the task as queued. A reader that had seen it run
        would then see it queued again without an interruption.
        """
        record = self.record
        if self.attempt is None or self.attempt.shown:
            if self.attempt is not None:
                self._note_tries()
            return record.pack(), self.key
        handed = record.started, record.pid
        place = self.place()
        record.state, record.place = State.QUEUED, place
        record.started = record.pid = None
        row = record.pack()
        record.state, record.place = State.RUNNING, _RUNNING
        record.started, record.pid = handed
        return row, live_key(*place, self.id)

    def place(self) -> Place:
        """Where it stands while it is on no worker."""
        return place_of(self.record, self.options, self.lane, self.group)

    # --- transitions ---

    def stand(self) -> None:
        """It is queued: give it its place."""
        self.record.place = place = self.place()
        self.key = live_key(*place, self.id)
        if self.record.pool != self.options.pool:
            self.record.pool = self.options.pool

    def begin(self, pid: int, now: float) -> None:
        """It is handed to a worker."""
        record = self.record
        record.state = after(record.state, Event.DISPATCH)
        record.started = now
        record.pid = pid
        if record.due is not None:
            record.ready, record.due = record.due, None
        record.place = _RUNNING
        self.key = _RUNNING_PREFIX + self.id

    def requeue(self, event: Event, error: ErrorRow | None, due: float | None) -> None:
        """It is interrupted, or is to be retried at `due`."""
        record = self.record
        record.state = after(record.state, event)
        record.pid = None
        if event is Event.RETRY:
            record.progress = None
            record.attempt += 1
        else:
            record.interruptions += 1
        if error is not None or event is Event.RETRY:
            record.error = error
            self._note_tries()
        record.due = due
        self._leave_worker()

    def restart(self, now: float) -> None:
        """Its supervision tree starts it again: what counts is counted anew."""
        record = self.record
        record.held = False
        record.ready = now
        record.tries_from = record.delays_from = record.attempt
        record.crashes, record.deaths, record.alone = 0, None, False

    def take_back(self) -> None:
        """It was handed out and had not begun: as if it had never been handed out."""
        record = self.record
        record.state = State.QUEUED
        record.started = record.pid = None
        self._leave_worker()

    def end(self, event: Event, error: ErrorRow | None, value: bytes | None, now: float) -> None:
        """It has reached its final state, at `now` in seconds since the epoch."""
        record = self.record
        record.state = after(record.state, event)
        assert record.state in TERMINAL
        record.ended = now
        record.pid = None
        if record.due is not None:
            record.due = None
        if record.error is not error:
            record.error = error
            self._note_tries()
        self._leave_worker()
        record.place = self.key = None
        self.result = value
        if value is not None:
            record.result = len(value)

    def set_aside(self) -> None:
        """It is on no worker and in no queue; what the disk says of it stays."""
        self._leave_worker()
        self.key = None

    def _note_tries(self) -> None:
        """Store how many attempts the retry policy allows. Rows of quick tasks that complete stay without it."""
        tries = self.options.retry.attempts + 1
        if self.record.tries != tries:
            self.record.tries = tries

    def _leave_worker(self) -> None:
        if self.attempt is not None:
            self.attempt.end()
            self.attempt = None

"""A task that has not ended, as the supervisor holds it in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.task.options import Options
from ...storage.tables.record import Record
from ...storage.tables.schema import Lane
from ..task_kinds import TaskKind, kind_of

if TYPE_CHECKING:
    from .attempt import Attempt
    from .mailboxes import MailboxState
    from .task_log import TaskLog


class LiveTask:
    """One task. Its record is durable; the rest may be lost with the supervisor."""

    __slots__ = (
        "args",
        "attempt",
        "batch",
        "dirty",
        "id",
        "key",
        "lane",
        "log",
        "mail",
        "options",
        "record",
        "result",
        "stored",
        "stored_key",
    )

    def __init__(self, record: Record, options: Options, lane: Lane, *, stored: bool) -> None:
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
        self.dirty = False
        #: Number of the last batch that its rows went into.
        self.batch = 0
        self.args: bytes | None = None
        self.result: bytes | None = None
        #: None while it is queued.
        self.attempt: Attempt | None = None
        self.mail: MailboxState | None = None
        self.log: TaskLog | None = None

    @property
    def kind(self) -> TaskKind:
        """What sets it apart from tasks of other kinds."""
        return kind_of(self.record.name)

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
        return (
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
        )

    def off_worker(self) -> None:
        """It has left its worker, if it was on one."""
        if self.attempt is not None:
            self.attempt.end()
            self.attempt = None

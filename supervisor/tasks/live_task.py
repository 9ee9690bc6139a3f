"""A task that has not ended, as the supervisor holds it in memory while it waits its turn, runs, or is changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ...actors.task.options import Options
from ...storage.tables.record import Record
from ...storage.tables.schema import Lane

if TYPE_CHECKING:
    from ..execution.worker_seat import WorkerSeat
    from .mailboxes import MailboxState
    from .task_log import TaskLog


class LiveTask:
    """One task. What is durable of it is its record; the rest is lost with the supervisor, and may be."""

    __slots__ = (
        "args",
        "batch",
        "begun",
        "deadline",
        "dirty",
        "handed_at",
        "id",
        "key",
        "kill",
        "lane",
        "link",
        "log",
        "mail",
        "options",
        "parked",
        "record",
        "result",
        "seen",
        "signal",
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
        #: The worker it was handed to.
        self.link: WorkerSeat | None = None
        self.handed_at = 0.0
        #: Known to have begun on that worker; until then it may be taken back.
        self.begun = False
        #: Was seen to have begun, at the last look or by what it reported; it may have ended since, with the news of
        #: that on its way.
        self.seen = False
        #: Waits in `receive`, `sleep` and the like.
        self.parked = False
        #: Why it was asked to stop: "cancel" or "timeout".
        self.signal: str | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.kill: asyncio.TimerHandle | None = None
        self.mail: MailboxState | None = None
        self.log: TaskLog | None = None

    @property
    def queued(self) -> bool:
        """Ready or delayed, and with no worker."""
        return self.link is None and self.record.ended is None

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
        """It is on no worker any more: forget what held only there."""
        self.link = None
        self.begun = self.seen = self.parked = False
        self.signal = None
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        if self.kill is not None:
            self.kill.cancel()
            self.kill = None

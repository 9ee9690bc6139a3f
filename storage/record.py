"""A task as the store keeps it: one row of the `tasks` table, and the supervisor's own copy of it in memory."""

from __future__ import annotations

from typing import Any, Final

import msgpack

from ..actors.state import State

_STATES: Final = tuple(State)
_CODE: Final = {state: code for code, state in enumerate(_STATES)}


class Record:
    """What is known of one task. Times are seconds since the epoch, as floats; ids are 16 bytes (UUIDv7)."""

    __slots__ = (
        "alone",
        "attempt",
        "cancel",
        "checkpoint",
        "closed",
        "crashes",
        "created",
        "due",
        "ended",
        "error",
        "id",
        "interruptions",
        "key",
        "name",
        "options",
        "origin",
        "pid",
        "place",
        "progress",
        "retry_of",
        "started",
        "state",
        "stream",
    )

    def __init__(
        self,
        id: bytes,
        name: str,
        created: float,
        stream: bytes,
        origin: bytes | None = None,
        options: dict[str, Any] | None = None,
        key: str | None = None,
        due: float | None = None,
        retry_of: bytes | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.state = State.QUEUED
        #: Correlation id shared with everything started from the same run.
        self.stream = stream
        #: The task that started this one.
        self.origin = origin
        self.created = created
        self.started: float | None = None
        self.ended: float | None = None
        #: Number of the current or next attempt, from 1. An interruption does not change it.
        self.attempt = 1
        self.interruptions = 0
        #: How many workers died under this task while it was a suspect.
        self.crashes = 0
        #: Must run in a worker of its own, because a worker died while it ran beside others.
        self.alone = False
        #: What the caller changed of the task's declared options; None for nothing.
        self.options = options
        #: The idempotency key.
        self.key = key
        #: Earliest time of the next attempt: a delay asked for, or a retry's backoff.
        self.due = due
        #: The worker that runs it.
        self.pid: int | None = None
        #: (type, message, traceback, details) of the last attempt that did not complete.
        self.error: tuple[str, str, str, dict[str, Any]] | None = None
        #: (done, total, note)
        self.progress: tuple[float, float | None, str] | None = None
        #: (time, size in bytes) of the last checkpoint.
        self.checkpoint: tuple[float, int] | None = None
        #: No more messages are taken.
        self.closed = False
        #: A cancel was accepted: the only terminal state left is `cancelled`.
        self.cancel = False
        #: The ended task that this one tries again.
        self.retry_of = retry_of
        #: (lane, sort) of its row in the `live` table; None once it has ended.
        self.place: tuple[int, int] | None = None

    @property
    def terminal(self) -> bool:
        return self.ended is not None

    def pack(self) -> bytes:
        """The row's bytes: a msgpack array in the order of `unpack`."""
        packed: bytes = _PACK(
            (
                self.name,
                _CODE[self.state],
                self.stream,
                self.origin,
                self.created,
                self.started,
                self.ended,
                self.attempt,
                self.interruptions,
                self.crashes,
                self.alone,
                self.options,
                self.key,
                self.due,
                self.pid,
                self.error,
                self.progress,
                self.checkpoint,
                self.closed,
                self.cancel,
                self.retry_of,
                self.place,
            )
        )
        return packed

    @classmethod
    def unpack(cls, id: bytes, row: bytes) -> Record:
        """The record of a row; ValueError for bytes that are none."""
        record = cls.__new__(cls)
        record.id = id
        try:
            (
                record.name,
                code,
                record.stream,
                record.origin,
                record.created,
                record.started,
                record.ended,
                record.attempt,
                record.interruptions,
                record.crashes,
                record.alone,
                record.options,
                record.key,
                record.due,
                record.pid,
                record.error,
                record.progress,
                record.checkpoint,
                record.closed,
                record.cancel,
                record.retry_of,
                record.place,
            ) = msgpack.unpackb(row, use_list=False)
            record.state = _STATES[code]
        except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise ValueError(f"not a task record: {error}") from error
        return record


_PACK = msgpack.Packer(autoreset=True).pack


def state_of(row: bytes) -> State:
    """Only the state of a row, ten times as fast as `Record.unpack`; ValueError for bytes that are no record.

    A row is an array of more than 15 and at most 65,535 items (so its header has 3 bytes), first the name, then
    the state's code, which is below 128 (so it is one byte).
    """
    try:
        head = row[3]
        if head < 0xC0:
            place = 4 + (head & 0x1F)
        elif head == 0xD9:
            place = 5 + row[4]
        else:
            place = 6 + int.from_bytes(row[4:6], "big")
        return _STATES[row[place]]
    except IndexError as error:
        raise ValueError("not a task record: too short, or without a state") from error

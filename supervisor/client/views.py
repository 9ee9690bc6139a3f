"""Conversion of stored rows to the objects that users get: records, log lines, values and errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import msgpack

from ...actors import values
from ...actors.errors import (
    ErrorInfo,
    InvalidValue,
    Poisoned,
    TaskCancelled,
    TaskEnded,
    TaskFailed,
    TaskTimedOut,
)
from ...actors.ids import id_text
from ...actors.refs.letter import Letter, Op
from ...actors.schedules.cron import LATEST
from ...actors.shapes import Shape
from ...actors.state import State
from ...actors.task.declaration import Task, registry
from ...actors.task.handles import IdLike, Progress, StoredArguments, TaskInfo, TaskRecord
from ...actors.task.step_info import StepInfo
from ...actors.task.trigger import SCHEDULE, Kind, Trigger
from ...storage.step_reader import StoredStep
from ...storage.tables.actor_rows import DeadLetterRow
from ...storage.tables.record import Record
from ...storage.tables.schema import Lane, pool_sort
from ...storage.tables.unique_rows import key_in
from ..wire.error_codec import info_of


class LogLine(NamedTuple):
    """One entry of a task's log."""

    chunk: int
    """Number of the chunk that holds the entry."""
    time: float
    """Seconds since the epoch."""
    level: str
    """"stdout", "stderr", the level of a logging record in lower case, or "notice"."""
    text: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that an actor could not handle."""

    id: str
    message: Any
    """The message of a `tell`. For a call of a method, a dict with "method", "args" and "kwargs"."""
    error: ErrorInfo
    time: float
    """When it was given up, in seconds since the epoch."""


#: What a queued task waits for, by the lane in which it stands.
WAITS_FOR: Final[dict[int, str]] = {
    Lane.SYNC: "slot",
    Lane.ASYNC: "slot",
    Lane.RUN: "slot",
    Lane.RUN_ASYNC: "slot",
    Lane.ALONE: "worker",
    Lane.DELAYED: "time",
    Lane.BOX: "limit",
    Lane.CODE: "code",
    Lane.HELD: "tree",
    Lane.GATE: "limit",
    Lane.POOL: "slot",
    Lane.NO_POOL: "pool",
}


def view(
    record: Record, mailbox_depth: int = 0, arguments: Callable[[bytes], bytes | None] | None = None
) -> TaskRecord:
    """A stored record as a TaskRecord. `arguments` reads a task's encoded arguments, if they are asked for."""
    checkpoint, steps = record.checkpoint or (None, None), record.steps or (0, 0)
    return TaskRecord(
        id=id_text(record.id),
        stream_id=id_text(record.stream),
        task=record.name,
        state=record.state,
        attempt=record.attempt,
        tries=record.tries,
        interruptions=record.interruptions,
        created=record.created,
        origin_run=None if record.origin is None else id_text(record.origin),
        started=record.started,
        ended=record.ended,
        worker_pid=record.pid,
        error=info_of(record.error),
        progress=None if record.progress is None else Progress(*record.progress),
        next_attempt=None if record.due == LATEST else record.due,
        checkpoint_time=checkpoint[0],
        checkpoint_size=checkpoint[1],
        mailbox_depth=mailbox_depth,
        key=record.key,
        retry_of=None if record.retry_of is None else id_text(record.retry_of),
        waits_for=_waits_for(record),
        cancel_requested=record.cancel,
        closed=record.closed,
        options=record.options or {},
        metadata=record.metadata or {},
        actor=record.actor,
        kind=cast("Kind", record.kind),
        trigger=None if record.trigger is None else Trigger.unpack(record.trigger),
        tree=record.tree,
        unique_key=None if record.unique is None else key_in(record.unique),
        trace=record.trace,
        pool=record.pool,
        steps=steps[0],
        steps_size=steps[1],
        arguments=StoredArguments(arguments and functools.partial(arguments, record.id)),
    )


def _waits_for(record: Record) -> str | None:
    if record.place is None:
        return None
    if record.unique is not None and record.due == LATEST and record.kind != SCHEDULE:
        return "unique"
    lane, sort = record.place
    if lane == Lane.POOL and sort >> 8 << 8 == pool_sort(record.pool or "", Lane.ALONE):
        lane = Lane.ALONE
    return WAITS_FOR.get(lane)


def dead_letter(id: bytes, row: DeadLetterRow) -> DeadLetter:
    """A stored dead letter as a DeadLetter."""
    at, letter, (kind, message, traceback) = row
    return DeadLetter(id_text(id), _message_of(letter), ErrorInfo(kind, message, traceback), at)


def step_info(step: StoredStep) -> StepInfo:
    """A stored step as a StepInfo. A value of a type that is not registered here is a Foreign."""
    (_, number, key), (at, name, value), letter = step
    message = None if letter is None else id_text(letter)
    return StepInfo(name, number, key, at, len(value), values.unpack_foreign(value), message)


def _message_of(data: bytes) -> Any:
    """The message of a letter, as `DeadLetter` shows it. A value of a type that is not registered here is a Foreign."""
    letter = Letter.unpack(data)
    payload = None if letter.payload is None else values.unpack_foreign(letter.payload)
    match letter.op:
        case Op.CALL:
            args, kwargs = payload or ([], {})
            return {"method": letter.path, "args": args, "kwargs": kwargs}
        case Op.GET:
            return {"get": letter.path}
        case Op.SET:
            return {"set": letter.path, "value": payload}
    return payload


def attributes_of(state: bytes) -> tuple[int, dict[str, Any]]:
    """The state version and the attributes of a stored state; InvalidValue for bytes that are none."""
    try:
        version, packed = msgpack.unpackb(state)
        return version, values.unpack_foreign(packed)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise InvalidValue(f"the stored state cannot be read: {error}") from error


def result_shape(task: Task[..., Any] | str | None) -> Shape | None:
    """What the task's annotations say of its result; None if that is plain data or the task is not known here."""
    declared = registry.get(task) if isinstance(task, str) else task
    return None if declared is None else declared.annotations.result


def shape_of_end(id: IdLike) -> Shape | None:
    """Of the task's result, if its handle says which task it is."""
    return result_shape(id.task) if isinstance(id, TaskInfo) else None


def value_of(id: bytes, state: str, value: bytes | None, error: Any, *, shape: Shape | None = None) -> Any:
    """The value of a completed task, of that shape. Raises the error of any other final state."""
    if state == State.COMPLETED:
        # Not by `_unpacked`: a call for each of many results.
        plain = None if value is None else values.unpack(value)
        return plain if shape is None else shape.lift(plain, "result")
    ended = ended_error(id_text(id), state, info_of(error))
    if isinstance(ended, TaskCancelled):
        ended.value = _unpacked(value, shape)
    raise ended


def outcome_of(id: bytes, state: str, value: bytes | None, error: Any, *, shape: Shape | None = None) -> Any:
    """The value of an ended task, or the error that `value_of` raises."""
    try:
        return value_of(id, state, value, error, shape=shape)
    except Exception as failure:  # noqa: BLE001 - a registered type's decoder may raise any error
        return failure


def _unpacked(value: bytes | None, shape: Shape | None) -> Any:
    plain = None if value is None else values.unpack(value)
    return plain if shape is None else shape.lift(plain, "result")


def ended_error(id: str, state: str, error: ErrorInfo | None) -> TaskEnded:
    """The error that `result` raises for a task that did not complete."""
    if state == State.CANCELLED:
        return TaskCancelled(f"task {id} was cancelled", id, error)
    if state == State.TIMED_OUT:
        return TaskTimedOut(f"task {id} timed out{f': {error.message}' if error else ''}", id, error)
    message = f"task {id} failed: {error}" if error else f"task {id} failed"
    if error is not None and error.type == "Poisoned":
        return Poisoned(message, id, error)
    return TaskFailed(message, id, error)

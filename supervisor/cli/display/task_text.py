"""A task's detail and progress as short texts for lists. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ....actors.errors import ErrorInfo
from ....actors.ids import id_text
from ....actors.state import State
from ....actors.task.handles import Progress, TaskRecord
from ....actors.task.trigger import TASK
from ....storage.tie_reader import LISTED, Ties
from ...text import documents, escape, units

#: Characters of an id that lists show: its last group. The first ones tell the time, so ids of one minute share them.
ID_SHOWN: Final = 12
#: Linked and monitored tasks that are shown by their ids.
SHOWN: Final = 3
#: Part of a message that holds a traceback.
TRACEBACK: Final = "Traceback (most recent call last)"

#: What a queued task waits for, in words; by `TaskRecord.waits_for`, and what only the supervisor knows.
WAITS: Final = {
    "slot": "a free slot",
    "worker": "a worker of its own",
    "limit": "a place at its limit",
    "time": "its time",
    "unique": "the end of the task that has the same unique key",
    "code": "its code: the app does not declare it",
    "tree": "its supervision tree, which starts it again",
    "pool": "its pool: the supervisor does not have it",
    "import": "its code, which cannot be imported now and is tried again",
    "room": "room on the disk",
    "supervisor": "a supervisor: none serves this home",
}


def waits(waits_for: str | None, why: str = "") -> str | None:
    """What a queued task waits for, by a key of `WAITS`, on one escaped line."""
    text = WAITS.get(waits_for or "")
    return f"{text}: {escape.one_line(why)}" if text and why else text


def name(task: str, actor: str | None) -> str:
    """The name of a task, or "module:Class/name" of a class actor that has a name; escaped."""
    return escape.one_line(f"{task}/{actor}" if actor else task)


def short_id(id: str) -> str:
    """The end of an id, which tells it from others and which every command accepts."""
    return id[-ID_SHOWN:]


def tries(attempt: int, most: int) -> str:
    """ "3 of 4": the attempt and the most that the retry policy allows; "3" without a policy or beyond it."""
    return f"{attempt} of {most}" if most > 1 and attempt <= most else str(attempt)


def run(record: TaskRecord) -> str | None:
    """What has triggered a run, escaped; None for a task that was started."""
    trigger = record.trigger
    if record.kind == TASK:
        return None
    if trigger is None:
        return record.kind
    if trigger.event is not None:
        return escape.one_line(f"event {trigger.event} ({trigger.event_id})")
    due = "" if trigger.scheduled_at is None else f", due at {units.iso(trigger.scheduled_at)}"
    return escape.one_line(f"{record.kind} {trigger.schedule or ''}".rstrip() + due)


def run_time(record: TaskRecord, now: float) -> float | None:
    """Seconds that the last attempt has run; None if the task is queued or idle, or has not begun."""
    if record.started is None or record.state in {State.QUEUED, State.IDLE}:
        return None
    return (now if record.ended is None else record.ended) - record.started


def detail(record: TaskRecord, now: float) -> str:
    """The task's due time, cancel request, progress and error, on one escaped line."""
    parts = []
    if record.state is State.QUEUED and record.next_attempt is not None and record.next_attempt > now:
        parts.append(f"due in {units.duration(record.next_attempt - now)}")
    if record.waits_for == "code":
        parts.append("waits for code")
    if record.waits_for == "pool":
        parts.append(f"waits for pool {record.pool}, which the supervisor does not have")
    if record.state is State.RUNNING and record.cancel_requested:
        parts.append("asked to stop")
    if record.progress is not None and not record.ended_already:
        parts.append(progress(record.progress))
    if record.error is not None and record.state is not State.COMPLETED:
        parts.append(reason(record.error))
    return escape.one_line(", ".join(part for part in parts if part))


def reason(error: ErrorInfo) -> str:
    """The error's type and the telling lines of its message: the last one of a traceback, else the first and last."""
    lines = [line.strip() for line in error.message.splitlines() if line.strip()]
    if len(lines) < 2:
        return str(error)
    if any(TRACEBACK in line for line in lines):
        return f"{error.type}: {lines[-1]}"
    return f"{error.type}: {lines[0]} … {lines[-1]}"


def progress(done: Progress) -> str:
    """ "40/100 (40%), downloading", escaped."""
    text = _number(done.done)
    if done.total is not None:
        text += f"/{_number(done.total)}"
        if done.total > 0:
            text += f" ({done.done / done.total:.0%})"
    return escape.one_line(f"{text}, {done.note}" if done.note else text)


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def ties(record: TaskRecord, linked: bool, found: Ties) -> list[tuple[str, str]]:
    """The links and monitors of a task, with their labels."""
    told = [("linked to", record.origin_run)] if linked and record.origin_run else []
    for label, ids in (
        ("linked", found.children),
        ("monitors", found.monitors),
        ("monitored by", found.watchers),
    ):
        if ids:
            told.append((label, _some(ids)))
    return told


def ties_document(record: TaskRecord, linked: bool, found: Ties) -> dict[str, Any]:
    """The same for --json."""
    return documents.ties(
        record.origin_run if linked else None, found.children, found.monitors, found.watchers
    )


def _some(ids: Sequence[bytes]) -> str:
    text = " ".join(id_text(id) for id in ids[:SHOWN])
    if len(ids) >= LISTED:
        return f"{text} and more than {LISTED - SHOWN:,} others"
    return text if len(ids) <= SHOWN else f"{text} and {len(ids) - SHOWN:,} more"

"""What programs get of each thing, as plain data: the JSON of the command line's --json and of the API.

Times are ISO 8601 in UTC, except in the sums that `as_dict` alone makes, such as those of `TaskStats`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...actors.ids import id_text
from . import units

if TYPE_CHECKING:
    from ...actors.access import AuditEntry, TokenInfo
    from ...actors.events.event import EventInfo, EventRecord
    from ...actors.events.stream import StreamInfo
    from ...actors.schedules.info import Occurrence, ScheduleInfo
    from ...actors.state import State
    from ...actors.task.handles import TaskInfo, TaskRecord
    from ...actors.task.outcomes import TaskAttempt
    from ...actors.task.step_info import StepInfo
    from ...actors.trees.status import ChildStatus, TreeStatus

TASK_TIMES: Final = ("created", "started", "ended", "next_attempt", "checkpoint_time")
SCHEDULE_TIMES: Final = ("next", "last", "created")
DEFINITION_TIMES: Final = ("at", "start", "end")
OCCURRENCE_TIMES: Final = ("scheduled_at", "time")
STREAM_TIMES: Final = ("time", "newest")
TOKEN_TIMES: Final = ("created", "expires")


def with_times(fields: Mapping[str, Any], times: Collection[str]) -> dict[str, Any]:
    """The fields, those with these names as times."""
    return {name: units.iso(value) if name in times else value for name, value in fields.items()}


def task(record: TaskRecord) -> dict[str, Any]:
    """A task or an actor."""
    return with_times(record.as_dict(), TASK_TIMES)


def started(info: TaskInfo[Any]) -> dict[str, Any]:
    """A task that was just started."""
    names = ("id", "stream_id", "task", "origin_run", "existing")
    return {name: getattr(info, name) for name in names}


def ties(
    linked_to: str | None,
    linked: Iterable[bytes],
    monitors: Iterable[bytes],
    monitored_by: Iterable[bytes],
) -> dict[str, Any]:
    """The links and monitors of a task."""
    return {
        "linked_to": linked_to,
        "linked": [id_text(id) for id in linked],
        "monitors": [id_text(id) for id in monitors],
        "monitored_by": [id_text(id) for id in monitored_by],
    }


def attempt(run: TaskAttempt) -> dict[str, Any]:
    """A run of a task."""
    return with_times(run.as_dict(), TASK_TIMES)


def step(info: StepInfo) -> dict[str, Any]:
    """A step that a task keeps, without its value."""
    return with_times(info.as_dict(), ("time",))


def event(record: EventRecord) -> dict[str, Any]:
    """An event with its data."""
    return with_times(record.as_dict(), ("time",))


def emitted(info: EventInfo) -> dict[str, Any]:
    """An event that was just emitted or replayed."""
    return {"id": info.id, "stream_id": info.stream_id, "runs": list(info.runs)}


def stream(info: StreamInfo) -> dict[str, Any]:
    """A stream in a list."""
    return with_times(info.as_dict(), STREAM_TIMES)


def schedule(info: ScheduleInfo) -> dict[str, Any]:
    """A schedule."""
    fields = with_times(info.as_dict(), SCHEDULE_TIMES)
    return {**fields, "definition": with_times(fields["definition"], DEFINITION_TIMES)}


def occurrence(each: Occurrence) -> dict[str, Any]:
    """An entry of a schedule's history."""
    return with_times(each.as_dict(), OCCURRENCE_TIMES)


def token(info: TokenInfo) -> dict[str, Any]:
    """A token, without its secret."""
    return with_times(info.as_dict(), TOKEN_TIMES)


def audit_entry(entry: AuditEntry) -> dict[str, Any]:
    """An entry of the audit."""
    return with_times(entry.as_dict(), ("time",))


def tree(status: TreeStatus | ChildStatus) -> dict[str, Any]:
    """A supervision tree or a child of one, with all that is in it."""
    return _node(status.as_dict())


def _node(fields: dict[str, Any]) -> dict[str, Any]:
    exit = fields["last_exit"]
    return {
        **fields,
        "last_exit": exit and with_times(exit, ("time",)),
        "children": [_node(each) for each in fields["children"]],
    }


def counts(numbers: Mapping[str, Mapping[State, int]]) -> dict[str, dict[str, int]]:
    """How many tasks of each name are in each state."""
    return {
        name: {str(state): count for state, count in states.items()}
        for name, states in sorted(numbers.items())
    }


def line(time: float, level: str, text: str) -> dict[str, Any]:
    """A line of a log."""
    return {"time": units.iso(time), "level": level, "text": text}

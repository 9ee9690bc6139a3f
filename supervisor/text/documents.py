"""What programs get of each thing, as plain data: the JSON of the command line's --json and of the API.

Times are ISO 8601 in UTC, durations are seconds. `as_dict` of the things themselves keeps times as numbers, so a
command prints what a function here makes of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...actors.ids import id_text
from . import units

if TYPE_CHECKING:
    from ...actors.access import AuditEntry, TokenInfo
    from ...actors.events.entry import WatchEntry
    from ...actors.events.event import EventInfo, EventRecord
    from ...actors.events.stream import Stream, StreamInfo
    from ...actors.schedules.info import Occurrence, ScheduleInfo
    from ...actors.state import State
    from ...actors.task.bulk_info import BulkInfo, BulkOutcome
    from ...actors.task.handles import TaskInfo, TaskRecord
    from ...actors.task.limits_info import LimitInfo
    from ...actors.task.outcomes import ErrorGroup, TaskAttempt, TaskStats
    from ...actors.task.stack import TaskStack
    from ...actors.task.step_info import StepInfo
    from ...actors.trees.status import ChildStatus, TreeStatus

TASK_TIMES: Final = ("created", "started", "ended", "next_attempt", "checkpoint_time")
TRIGGER_TIMES: Final = ("scheduled_at",)
SCHEDULE_TIMES: Final = ("next", "last", "created")
DEFINITION_TIMES: Final = ("at", "start", "end")
OCCURRENCE_TIMES: Final = ("scheduled_at", "time")
STREAM_TIMES: Final = ("time", "newest")
NODE_TIMES: Final = ("time", "started", "ended")
GROUP_TIMES: Final = ("first", "last")
TOKEN_TIMES: Final = ("created", "expires")
BULK_TIMES: Final = ("created", "ended")


def with_times(fields: Mapping[str, Any], times: Collection[str]) -> dict[str, Any]:
    """The fields, those with these names as times."""
    return {name: units.iso(value) if name in times else value for name, value in fields.items()}


def task(record: TaskRecord) -> dict[str, Any]:
    """A task or an actor."""
    fields = with_times(record.as_dict(), TASK_TIMES)
    trigger = fields["trigger"]
    return {**fields, "trigger": trigger and with_times(trigger, TRIGGER_TIMES)}


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


def stream_tree(tree: Stream) -> dict[str, Any]:
    """A stream with all that has come from its beginning."""
    fields = tree.as_dict()
    return {**fields, "roots": [_stream_node(each) for each in fields["roots"]]}


def _stream_node(fields: dict[str, Any]) -> dict[str, Any]:
    children = [_stream_node(each) for each in fields["children"]]
    return {**with_times(fields, NODE_TIMES), "children": children}


def entry(each: WatchEntry) -> dict[str, Any]:
    """What a watch gives."""
    from ...actors.events.stream import Stream

    fields = with_times(each.as_dict(), ("time",))
    if each.snapshot is not None:
        made = stream_tree(each.snapshot) if isinstance(each.snapshot, Stream) else task(each.snapshot)
        fields["snapshot"] = made
    return fields


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


def bulk(info: BulkInfo) -> dict[str, Any]:
    """A cancel or retry of many tasks."""
    return with_times(info.as_dict(), BULK_TIMES)


def bulk_outcome(each: BulkOutcome) -> dict[str, Any]:
    """What became of one task of a bulk."""
    return {"id": each.id, "outcome": each.outcome, "new_id": each.new_id}


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


def stats(found: TaskStats) -> dict[str, Any]:
    """What has ended in a window, of all names and of each."""
    fields = with_times(found.as_dict(), ("since",))
    return {**fields, "tasks": {name: stats(each) for name, each in found.tasks.items()}}


def error_group(group: ErrorGroup) -> dict[str, Any]:
    """A cause of failures."""
    return with_times(group.as_dict(), GROUP_TIMES)


def stack(found: TaskStack) -> dict[str, Any]:
    """The stack of a task, with all threads."""
    return with_times(found.as_dict(), ("time",))


def limit(info: LimitInfo) -> dict[str, Any]:
    """A limit, or one key of it."""
    return info.as_dict()


def line(time: float, level: str, text: str) -> dict[str, Any]:
    """A line of a log."""
    return {"time": units.iso(time), "level": level, "text": text}

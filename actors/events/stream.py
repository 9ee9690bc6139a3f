"""`Stream`: the tree of events, runs and tasks that share a stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ..state import State
from ..task.handles import TaskRecord
from .event import EventRecord


@dataclass(frozen=True, slots=True)
class StreamNode:
    """An event, a run or a task. Times are seconds since the epoch."""

    kind: str
    """ "event", "task", "actor", or "run": started by an event, a schedule, a call or an HTTP request."""
    id: str
    name: str
    """The name of the event, or of the task."""
    time: float
    """When it was emitted or created."""
    state: State | None = None
    """None for an event."""
    attempt: int | None = None
    started: float | None = None
    ended: float | None = None
    error: str | None = None
    """Type and message of the last error."""
    children: list[StreamNode] = field(default_factory=list)
    """An event's runs; what a run or task has started and emitted; oldest first."""

    def walk(self, depth: int = 0) -> Iterator[tuple[int, StreamNode]]:
        """This node and all below it, each with its depth."""
        open_nodes = [(depth, self)]
        while open_nodes:
            level, node = open_nodes.pop()
            yield level, node
            open_nodes += [(level + 1, child) for child in reversed(node.children)]


@dataclass(frozen=True, slots=True)
class Stream:
    """All that has come from one start or one event."""

    id: str
    roots: list[StreamNode]
    """What began it; and what is left of it if its beginning has been pruned."""
    more: bool = False
    """Whether there is more of it than the call has asked for. The oldest are here."""

    def walk(self) -> Iterator[tuple[int, StreamNode]]:
        """All nodes, each before those below it, with their depths."""
        for root in self.roots:
            yield from root.walk()

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream in a list. Times are seconds since the epoch."""

    id: str
    kind: str | None
    """What began it, as in a `StreamNode`. None: that has been pruned."""
    name: str | None
    time: float
    """When it began."""
    newest: float
    """When its newest event was emitted, or its newest task created."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return asdict(self)


def kind_of(task: TaskRecord) -> str:
    """The `kind` of a task's node."""
    return "actor" if task.actor is not None else "task" if task.kind == "task" else "run"


def stream_of(
    id: str, events: Iterable[EventRecord], tasks: Iterable[TaskRecord], *, more: bool = False
) -> Stream:
    """The tree of these events and tasks.

    A run stands below its event, everything else below the run or task that has started or emitted it. What has lost
    that to pruning is a root.
    """
    nodes: dict[tuple[bool, str], StreamNode] = {}
    parents: dict[tuple[bool, str], tuple[bool, str] | None] = {}
    for event in events:
        key = (True, event.id)
        nodes[key] = StreamNode("event", event.id, event.name, event.time)
        parents[key] = None if event.origin_run is None else (False, event.origin_run)
    for task in tasks:
        key = (False, task.id)
        nodes[key] = _node_of(task)
        trigger = task.trigger
        if trigger is not None and trigger.event_id is not None:
            parents[key] = (True, trigger.event_id)
        else:
            parents[key] = None if task.origin_run is None else (False, task.origin_run)
    roots: list[StreamNode] = []
    # Parents are older than their children, but two clients' clocks may differ by a moment.
    for key, node in sorted(nodes.items(), key=lambda item: (item[1].time, item[1].id)):
        parent = parents[key]
        above = None if parent is None else nodes.get(parent)
        (roots if above is None else above.children).append(node)
    return Stream(id, roots, more)


def _node_of(task: TaskRecord) -> StreamNode:
    return StreamNode(
        kind_of(task),
        task.id,
        task.task,
        task.created,
        task.state,
        task.attempt,
        task.started,
        task.ended,
        None if task.error is None else str(task.error),
    )

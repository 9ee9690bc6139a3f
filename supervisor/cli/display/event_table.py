"""Events and streams as tables and trees. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from ....actors.events.event import EventRecord
from ....actors.events.stream import Stream, StreamInfo, StreamNode
from ....actors.state import State
from ...text import escape, units, value_json
from . import task_table


def events(rows: Sequence[tuple[EventRecord, Sequence[str | None]]], width: int, now: float) -> Table:
    """The table of events, each with the states of its runs."""
    cells = [
        (
            Text(event.id),
            Text(event.name),
            Text(units.duration(now - event.time)),
            Text(_runs(states)),
            Text(value_json.dumps(event.data)),
        )
        for event, states in rows
    ]
    titles = ("ID", "EVENT", "AGE", "RUNS", "DATA")
    return task_table.fitted(titles, cells, width, name="EVENT", detail="DATA", right={"AGE"})


def _runs(states: Sequence[str | None]) -> str:
    """ "2 completed, 1 failed"; "none" for an event that nothing handles."""
    counts = Counter(state or "pruned" for state in states)
    return ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "none"


def sheet(event: EventRecord, states: Sequence[str | None], now: float) -> Table:
    """All of one event."""
    facts = [
        ("id", event.id),
        ("event", event.name),
        ("time", str(task_table.when(event.time, now))),
        ("stream", event.stream_id),
        ("emitted by", event.origin_run or ""),
        ("data", value_json.dumps(event.data)),
        *(
            ("run", escape.one_line(f"{run}  {handler}  {state or 'pruned'}"))
            for (handler, run), state in zip(event.runs, states, strict=True)
        ),
    ]
    table = Table.grid(padding=(0, 2))
    for label, text in facts:
        if text:
            table.add_row(Text(label, "bold"), Text(text))
    if not event.runs:
        table.add_row(Text("run", "bold"), Text("none: nothing handled it"))
    return table


def streams(rows: Sequence[tuple[StreamInfo, Mapping[str, int]]], width: int, now: float) -> Table:
    """The table of streams, each with the states of its tasks."""
    cells = [
        (
            Text(each.id),
            Text(escape.one_line(f"{each.kind} {each.name}" if each.kind else "(pruned)")),
            Text(units.duration(now - each.time)),
            Text(units.duration(now - each.newest)),
            Text(", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "none"),
        )
        for each, counts in rows
    ]
    titles = ("ID", "BEGAN WITH", "AGE", "NEWEST", "TASKS")
    return task_table.fitted(titles, cells, width, name="BEGAN WITH", detail="TASKS", right={"AGE", "NEWEST"})


def stream(tree: Stream, now: float) -> Table:
    """The nodes of a stream, each below what has made it."""
    table = Table.grid(padding=(0, 2))
    for depth, node in tree.walk():
        table.add_row(
            Text("  " * depth + escape.one_line(f"{node.kind} {node.name}")),
            Text(
                "" if node.state is None else str(node.state),
                task_table.STYLES.get(node.state or State.IDLE, ""),
            ),
            Text(f"{units.duration(now - node.time)} ago"),
            Text("" if (ran := _ran(node, now)) is None else units.duration(ran)),
            Text(escape.one_line(node.error or "")),
        )
    return table


def _ran(node: StreamNode, now: float) -> float | None:
    """Seconds that the last attempt has run; None if it has not begun."""
    if node.started is None or node.state in (None, State.QUEUED, State.IDLE):
        return None
    return (now if node.ended is None else node.ended) - node.started

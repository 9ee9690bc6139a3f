"""Tasks as a table, and one task as a sheet, for a given width and time. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ....actors.state import State
from ....actors.task.handles import TaskRecord
from ....actors.task.outcomes import TaskAttempt
from ....actors.task.step_info import StepInfo
from ...text import escape, units, value_json
from . import task_text

STYLES: Final[dict[State, str]] = {
    State.QUEUED: "cyan",
    State.RUNNING: "bold green",
    State.IDLE: "dim",
    State.COMPLETED: "",
    State.FAILED: "red",
    State.TIMED_OUT: "yellow",
    State.CANCELLED: "magenta",
}

#: Columns between two cells.
GAP: Final = 2
#: Least columns to which a name may be cut; columns below which the detail is left out.
NAME_MIN, DETAIL_MIN = 12, 12
#: Longest JSON, in characters, that is shown on one line of a sheet.
SHORT: Final = 60
#: Share of the columns that a name gets before the detail is cut.
NAME_SHARE: Final = 0.45


def tasks(rows: Sequence[tuple[str, TaskRecord]], width: int, now: float) -> Table:
    """The table of (shown id, record) pairs, in their order."""
    cells = [
        (
            Text(id),
            Text(task_text.name(record.task, record.actor)),
            Text(str(record.state), STYLES[record.state]),
            Text(task_text.tries(record.attempt, record.tries)),
            Text(units.duration(now - record.created)),
            Text(_ran(record, now)),
            Text(task_text.detail(record, now)),
        )
        for id, record in rows
    ]
    titles = ("ID", "TASK", "STATE", "TRY", "AGE", "RAN", "DETAIL")
    return fitted(titles, cells, width, name="TASK", detail="DETAIL", right={"TRY", "AGE", "RAN"})


def counts(numbers: Mapping[str, Mapping[State, int]], width: int) -> Table:
    """How many tasks of each name are in each state, with a last line for all names."""
    states = [state for state in State if any(state in own for own in numbers.values())]
    rows = [
        *numbers.items(),
        ("", {state: sum(own.get(state, 0) for own in numbers.values()) for state in states}),
    ]
    cells = [
        (
            Text(task_text.name(name, None)) if name else Text("all"),
            *(Text(f"{own[state]:,}" if own.get(state) else "", STYLES[state]) for state in states),
            Text(f"{sum(own.values()):,}"),
        )
        for name, own in rows
    ]
    titles = ("TASK", *(str(state).upper() for state in states), "ALL", "")
    padded = [(*row, Text("")) for row in cells]
    return fitted(titles, padded, width, name="TASK", detail="", right=set(titles[1:]))


def attempts(runs: Iterable[TaskAttempt], width: int) -> Table:
    """The runs of a task."""
    cells = [
        (
            Text(str(run.attempt)),
            Text(run.state, STYLES.get(State(run.state), "") if run.state in tuple(State) else ""),
            Text("" if run.started is None else units.local(run.started)),
            Text(
                ""
                if None in (run.started, run.ended)
                else units.duration((run.ended or 0) - (run.started or 0))
            ),
            Text(str(run.worker_pid or "")),
            Text("" if run.error is None else escape.one_line(run.error)),
        )
        for run in runs
    ]
    titles = ("TRY", "ENDED AS", "STARTED", "RAN", "WORKER", "ERROR")
    return fitted(titles, cells, width, name="STARTED", detail="ERROR", right={"TRY", "RAN", "WORKER"})


def steps(kept: Iterable[StepInfo], width: int) -> Table:
    """The steps that a task keeps."""
    cells = [
        (
            Text(escape.one_line(step.name)),
            Text(str(step.call or "")),
            Text("" if step.key is None else escape.one_line(step.key)),
            Text(units.local(step.time)),
            Text(units.size(step.size)),
        )
        for step in kept
    ]
    return fitted(
        ("STEP", "CALL", "KEY", "KEPT", "SIZE"),
        cells,
        width,
        name="STEP",
        detail="KEY",
        right={"CALL", "SIZE"},
    )


def fitted(
    titles: Sequence[str],
    rows: Sequence[Sequence[Text]],
    width: int,
    *,
    name: str,
    detail: str,
    right: Collection[str] = (),
) -> Table:
    """A table that fits into `width`: `name` and `detail` are cut, or `detail` is left out."""
    widths = [
        max([cell_len(title), *(row[column].cell_len for row in rows)]) for column, title in enumerate(titles)
    ]
    at_name, at_detail = titles.index(name), titles.index(detail)
    taken = sum(width + GAP for column, width in enumerate(widths) if column not in {at_name, at_detail})
    if not any(row[at_detail] for row in rows):
        widths[at_detail] = 0
    widths[at_name], widths[at_detail] = shares(width - taken, widths[at_name], widths[at_detail])
    shown = [column for column in range(len(titles)) if column != at_detail or widths[at_detail]]
    table = plain_table()
    for column in shown:
        title = titles[column]
        table.add_column(
            title, width=widths[column], no_wrap=True, justify="right" if title in right else "left"
        )
    for row in rows:
        table.add_row(
            *((cut_middle if column == at_detail else cut)(row[column], widths[column]) for column in shown)
        )
    return table


def shares(room: int, name: int, detail: int) -> tuple[int, int]:
    """Divide `room` columns between name and detail, given their widths; 0 leaves the detail out."""
    if not detail:
        return max(min(name, room), 1), 0
    if name + GAP + detail <= room:
        return name, detail
    part = max(min(name, NAME_MIN), min(name, room - GAP - detail), min(name, int(room * NAME_SHARE)))
    left = room - part - GAP
    return (part, left) if left >= DETAIL_MIN else (max(min(name, room), 1), 0)


def cut(text: Text, width: int) -> Text:
    """Cut escaped text to `width` columns; an ellipsis marks the cut."""
    cell = text.copy()
    cell.no_wrap = True
    cell.truncate(width, overflow="ellipsis")
    return cell


def cut_middle(text: Text, width: int) -> Text:
    """Cut escaped text to `width` columns by leaving out its middle: an error's end often is its reason."""
    if text.cell_len <= width:
        return text
    head = text.copy()
    head.truncate((width - 1) // 2)
    start, room = len(text), width - 1 - head.cell_len
    while start and (room := room - cell_len(text.plain[start - 1])) >= 0:
        start -= 1
    cell = Text.assemble(head, "…", text[start:])
    cell.no_wrap = True
    return cell


def sheet(
    record: TaskRecord,
    extra: Mapping[str, Any],
    now: float,
    waits_for: str | None = None,
    why: str = "",
    more: Iterable[tuple[str, str]] = (),
) -> RenderableType:
    """All data of one task. `extra` has values to show as JSON: arguments, result.

    `waits_for` is a key of `task_text.WAITS` and replaces that of the record; `why` says more of it. `more` are further
    labels and escaped texts.
    """
    grid = plain_table(header=False)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in _facts(record, now, waits_for, why):
        grid.add_row(label, text)
    for label, fact in more:
        grid.add_row(label, Text(fact))
    for label, value in extra.items():
        short = value_json.dumps(value)
        grid.add_row(label, Text(short if len(short) <= SHORT else value_json.dumps(value, indent=True)))
    if record.error is None:
        return grid
    style = "red" if record.state in {State.FAILED, State.TIMED_OUT} else "yellow"
    parts: list[RenderableType] = [grid, Text(), Text(escape.one_line(record.error), style, overflow="fold")]
    if record.error.details:
        parts.append(Text(value_json.dumps(record.error.details), overflow="fold"))
    if record.error.traceback:
        parts.append(Text(escape.block(record.error.traceback), "dim", overflow="fold"))
    return Group(*parts)


def _facts(record: TaskRecord, now: float, waits_for: str | None, why: str) -> list[tuple[str, Text]]:
    state = Text(str(record.state), STYLES[record.state])
    if record.cancel_requested and not record.ended_already:
        state.append(" (asked to stop)", "magenta")
    facts: list[tuple[str, Text | str | None]] = [
        ("id", record.id),
        ("task" if record.actor is None else "actor", task_text.name(record.task, record.actor)),
        ("state", state),
        ("try", _attempts(record) if record.actor is None else None),
        ("created", when(record.created, now)),
        ("started", when(record.started, now)),
        ("ended", when(record.ended, now)),
        ("ran", _ran(record, now)),
        ("waits for", task_text.waits(waits_for or record.waits_for, why)),
        ("next attempt", when(None if record.ended_already else record.next_attempt, now)),
        ("pool", record.pool),
        ("worker", str(record.worker_pid or "") if record.state is State.RUNNING else None),
        ("progress", None if record.progress is None else task_text.progress(record.progress)),
        ("checkpoint", _checkpoint(record, now)),
        ("steps", f"{record.steps:,}, {units.size(record.steps_size)}" if record.steps else None),
        ("mailbox", _mailbox(record)),
        ("stream", None if record.stream_id == record.id else record.stream_id),
        ("run", task_text.run(record)),
        ("started by", record.origin_run),
        ("retry of", record.retry_of),
        ("key", None if record.key is None else escape.one_line(record.key)),
        ("unique", _unique(record)),
        ("metadata", _metadata(record)),
        ("trace", record.trace),
        ("options", value_json.dumps(record.options) if record.options else None),
    ]
    return [(label, text if isinstance(text, Text) else Text(text)) for label, text in facts if text]


def _unique(record: TaskRecord) -> str | None:
    return None if record.unique_key is None else escape.one_line(record.unique_key) or "by its name"


def _attempts(record: TaskRecord) -> str:
    tries = task_text.tries(record.attempt, record.tries)
    if not record.interruptions:
        return tries
    times = "once" if record.interruptions == 1 else f"{record.interruptions:,} times"
    return f"{tries}, interrupted {times}"


def _checkpoint(record: TaskRecord, now: float) -> str | None:
    if record.checkpoint_time is None:
        return None
    return f"{units.size(record.checkpoint_size or 0)}, {when(record.checkpoint_time, now)}"


def _mailbox(record: TaskRecord) -> str | None:
    if record.ended_already:
        return f"{record.mailbox_depth:,} not read; a retry gets them" if record.mailbox_depth else None
    waiting = f"{record.mailbox_depth:,} waiting" if record.mailbox_depth else "empty"
    return f"{waiting}, closed" if record.closed else waiting


def _metadata(record: TaskRecord) -> str:
    return escape.one_line(", ".join(f"{key}={value}" for key, value in record.metadata.items()))


def when(at: float | None, now: float) -> str | None:
    """A time, and how far away it is; None for None."""
    if at is None:
        return None
    away = f"{units.age(now - at)} ago" if at <= now else f"in {units.age(at - now)}"
    return f"{units.local(at)} ({away})"


def _ran(record: TaskRecord, now: float) -> str:
    seconds = task_text.run_time(record, now)
    return "" if seconds is None else units.duration(seconds)


def plain_table(*, header: bool = True) -> Table:
    """A table without lines, for terminals and pipes."""
    return Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=header, header_style="bold")

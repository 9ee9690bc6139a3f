"""Cancels and retries of many tasks as tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from ....actors.task.bulk_info import BulkInfo, BulkOutcome
from ...text import escape, units
from . import task_table

_STYLES: Final = {"running": "bold green", "completed": "", "cancelled": "magenta", "failed": "red"}


def bulks(rows: Sequence[BulkInfo], width: int, now: float) -> Table:
    """The table of bulks."""
    cells = [
        (
            Text(each.id),
            Text(each.action),
            Text(each.state, _STYLES[each.state]),
            Text(f"{each.done:,}"),
            Text(f"{each.total:,}"),
            Text(units.age(max(now - each.created, 0.0))),
            Text(escape.one_line(each.by)),
            Text(escape.one_line(each.query or "given tasks")),
        )
        for each in rows
    ]
    titles = ("ID", "ACTION", "STATE", "DONE", "OF", "AGE", "BY", "QUERY")
    return task_table.fitted(titles, cells, width, name="BY", detail="QUERY", right={"DONE", "OF", "AGE"})


def sheet(info: BulkInfo, now: float) -> Table:
    """All that is known of one."""
    table = task_table.plain_table(header=False)
    ended = None if info.ended is None else f"{units.duration(info.ended - info.created)} later"
    facts = [
        ("id", Text(info.id)),
        ("action", Text(info.action)),
        ("query", Text(escape.one_line(info.query or "given tasks"))),
        ("by", Text(escape.one_line(info.by))),
        ("state", Text(info.state, _STYLES[info.state])),
        ("asked for", Text(task_table.when(info.created, now) or "")),
        ("ended", Text(ended or "")),
        ("done", Text(f"{info.done:,} of {info.total:,}")),
        *((name, Text(f"{count:,}")) for name, count in info.outcomes.items()),
        ("problem", Text(escape.one_line(info.problem), "red")),
    ]
    for name, value in facts:
        if value.plain:
            table.add_row(Text(name, "dim"), value)
    return table


def outcomes(each: Iterable[BulkOutcome]) -> Table:
    """What became of each task."""
    table = task_table.plain_table()
    for title in ("TASK", "OUTCOME", "RETRIED BY"):
        table.add_column(title, no_wrap=True)
    for one in each:
        table.add_row(
            Text(one.id), Text(one.outcome, "red" if one.outcome == "refused" else ""), Text(one.new_id or "")
        )
    return table

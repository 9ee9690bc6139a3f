"""Class actors, their dead letters and their storage as tables for a given width and time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ....actors.errors import ErrorInfo
from ....actors.task.handles import TaskRecord
from ...text import escape, units, value_json
from . import task_table, task_text


def actors(rows: Sequence[tuple[str, TaskRecord]], width: int, now: float) -> Table:
    """The table of (shown id, record) pairs, in their order."""
    cells = [
        (
            Text(id),
            Text(task_text.name(record.task, record.actor)),
            Text(str(record.state), task_table.STYLES[record.state]),
            Text(units.duration(now - record.created)),
            Text(f"{record.mailbox_depth:,}"),
            Text(task_text.detail(record, now)),
        )
        for id, record in rows
    ]
    titles = ("ID", "ACTOR", "STATE", "AGE", "MAILBOX", "DETAIL")
    return task_table.fitted(titles, cells, width, name="ACTOR", detail="DETAIL", right={"AGE", "MAILBOX"})


def dead_letters(rows: Sequence[tuple[str, float, Any, ErrorInfo]], width: int, now: float) -> Table:
    """The table of (shown id, time, message, error), in their order."""
    cells = [
        (
            Text(id),
            Text(units.duration(now - at)),
            Text(value_json.dumps(message)),
            Text(escape.one_line(task_text.reason(error))),
        )
        for id, at, message, error in rows
    ]
    return task_table.fitted(
        ("ID", "AGE", "MESSAGE", "ERROR"), cells, width, name="MESSAGE", detail="ERROR", right={"AGE"}
    )


def storage(rows: Sequence[tuple[str, Any]], width: int) -> Table:
    """The table of (key, value)."""
    cells = [(Text(escape.one_line(key)), Text(value_json.dumps(value))) for key, value in rows]
    return task_table.fitted(("KEY", "VALUE"), cells, width, name="KEY", detail="VALUE")


def reminder(name: str, due: float, every: float | None, method: str | None, now: float) -> str:
    """A reminder on one escaped line."""
    parts = [name, task_table.when(due, now)]
    if every is not None:
        parts.append(f"every {units.duration(every)}")
    if method is not None:
        parts.append(f"calls {method}")
    return escape.one_line(", ".join(part for part in parts if part))

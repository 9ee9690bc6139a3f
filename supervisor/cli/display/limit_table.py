"""Limits as a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ....actors.task.limits_info import LimitInfo
from ...text import escape, units
from . import task_table


def limits(rows: Sequence[LimitInfo], width: int) -> Table:
    """The table of limits."""
    cells = [
        (
            Text(escape.one_line(each.name)),
            Text(escape.one_line(each.key or "")),
            Text("" if each.concurrency is None else f"{each.concurrency:,}"),
            Text("" if each.rate is None else str(each.rate)),
            Text(f"{each.used:,}"),
            Text(f"{each.waiting:,}"),
            Text("" if each.opens is None else f"in {units.duration(each.opens)}"),
        )
        for each in rows
    ]
    titles = ("LIMIT", "KEY", "AT ONCE", "RATE", "USED", "WAITING", "NEXT")
    return task_table.fitted(
        titles, cells, width, name="LIMIT", detail="KEY", right={"AT ONCE", "USED", "WAITING"}
    )

"""Schedules as tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from ....actors.schedules.definition import Definition
from ....actors.schedules.info import Occurrence, ScheduleInfo
from ...text import escape, units
from . import task_table


def schedules(rows: Sequence[ScheduleInfo], width: int, now: float) -> Table:
    """The table of schedules."""
    cells = [
        (
            Text(each.key),
            Text(each.state),
            Text(timing(each.definition)),
            Text("" if each.next is None else _ahead(each.next, now)),
            Text(f"{each.runs:,}"),
            Text(f"{each.skips:,}"),
            Text(each.task if each.task != each.key else ""),
        )
        for each in rows
    ]
    titles = ("KEY", "STATE", "WHEN", "NEXT", "RUNS", "SKIPS", "TASK")
    return task_table.fitted(titles, cells, width, name="KEY", detail="TASK", right={"NEXT", "RUNS", "SKIPS"})


def timing(definition: Definition) -> str:
    """ "0 9 * * 1 Europe/Zurich", "every 5m", "once"."""
    if definition.cron is not None:
        return f"{definition.cron} {definition.tz or 'UTC'}"
    if definition.every is not None:
        return f"every {units.duration(definition.every)}"
    return "once"


def sheet(schedule: ScheduleInfo, now: float) -> Table:
    """All of one schedule."""
    definition = schedule.definition
    options = {
        name: value
        for name, value in definition.pack().items()
        if name not in ("cron", "tz", "every", "at", "after", "start", "end")
    }
    facts = [
        ("key", schedule.key),
        ("task", schedule.task),
        ("state", schedule.state + (f": {schedule.reason}" if schedule.reason else "")),
        ("made by", "code" if schedule.declared else "a program"),
        ("when", f"{timing(definition)} ({definition.explain()})"),
        ("from", _time(definition.start, now)),
        ("until", _time(definition.end, now)),
        ("options", ", ".join(f"{name}={value}" for name, value in options.items())),
        (
            "next",
            "" if schedule.next is None else f"{units.local(schedule.next)} ({_ahead(schedule.next, now)})",
        ),
        ("last", _time(schedule.last, now)),
        ("runs", f"{schedule.runs:,}"),
        ("skips", f"{schedule.skips:,}"),
        ("failures in a row", f"{schedule.failures:,}" if schedule.failures else ""),
        ("not ended", "\n".join(schedule.active[:10])),
    ]
    table = Table.grid(padding=(0, 2))
    for label, text in facts:
        if text:
            table.add_row(Text(label, "bold"), Text(text if label == "not ended" else escape.one_line(text)))
    return table


def history(occurrences: Sequence[Occurrence]) -> Table:
    """The last occurrences of a schedule, newest first."""
    table = Table.grid(padding=(0, 2))
    for each in occurrences:
        by = f" (by {each.by})" if each.by else ""
        table.add_row(
            Text(units.local(each.scheduled_at)),
            Text(f"{each.run_id or escape.one_line(each.skipped or '')}{by}"),
        )
    return table


def _time(at: float | None, now: float) -> str:
    return str(task_table.when(at, now) or "")


def _ahead(at: float, now: float) -> str:
    return f"in {units.duration(at - now)}" if at >= now else "due"

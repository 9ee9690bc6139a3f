"""What has ended, and why tasks have failed, as tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from ....actors.state import State
from ....actors.task.outcomes import ErrorGroup, TaskStats, Times
from ...text import escape, units
from . import task_table, task_text

_TIMES: Final = ("p50", "p90", "p99")


def window(stats: TaskStats, width: int) -> Table:
    """What has ended in a window, by name, with a last line for all names."""
    states = [state for state in State if state in stats.ended]
    rows = [*stats.tasks.items(), ("", stats)]
    cells = [
        (
            Text(task_text.name(name, None)) if name else Text("all"),
            *(Text(_number(each.ended.get(state, 0)), task_table.STYLES[state]) for state in states),
            Text(_number(each.retried)),
            Text(rate(each.throughput)),
            *_times(each.wait),
            *_times(each.run),
            Text(""),
        )
        for name, each in rows
    ]
    titles = (
        "TASK",
        *(str(state).upper() for state in states),
        "RETRIED",
        "PER SECOND",
        *(f"WAIT {part}" for part in _TIMES),
        *(f"RUN {part}" for part in _TIMES),
        "",
    )
    return task_table.fitted(titles, cells, width, name="TASK", detail="", right=set(titles[1:]))


def _times(times: Times) -> tuple[Text, ...]:
    return tuple(Text("" if part is None else short(part)) for part in (times.p50, times.p90, times.p99))


def _number(number: int) -> str:
    return f"{number:,}" if number else ""


def short(seconds: float) -> str:
    """A duration, in microseconds below a millisecond."""
    return units.duration(seconds) if seconds >= 0.001 or not seconds else f"{seconds * 1e6:.0f}µs"


def rate(number: float) -> str:
    """A number for each second, in three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def errors(groups: Sequence[ErrorGroup], width: int, now: float) -> Table:
    """The causes of failures, each with the end of its newest task's id."""
    cells = [
        (
            Text(f"{group.count:,}"),
            Text(task_text.name(group.task, None)),
            Text(f"{units.age(now - group.first)} ago"),
            Text(f"{units.age(now - group.last)} ago"),
            Text(task_text.short_id(group.tasks[0]) if group.tasks else ""),
            Text(_cause(group)),
        )
        for group in groups
    ]
    titles = ("COUNT", "TASK", "FIRST", "LAST", "NEWEST", "ERROR")
    return task_table.fitted(
        titles, cells, width, name="TASK", detail="ERROR", right={"COUNT", "FIRST", "LAST"}
    )


def _cause(group: ErrorGroup) -> str:
    text = f"{group.type}: {group.message}" if group.message else group.type
    return escape.one_line(f"{text} ({group.frame})" if group.frame else text)

"""What has ended, and why tasks have failed, as tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from ....actors.state import State
from ....actors.task.outcomes import ErrorGroup, TaskStats
from ...text import escape, units
from . import task_table, task_text

_TIMES: Final = ("p50", "p90", "p99")


def window(stats: TaskStats, width: int) -> list[Table]:
    """What has ended in a window, by name, with a last line for all names.

    One table, or two below each other if the numbers and the times do not fit side by side.
    """
    rows = [*stats.tasks.items(), ("", stats)]
    names = [Text(task_text.name(name, None)) if name else Text("all") for name, _ in rows]
    found = [each for _, each in rows]
    numbers, times = _numbers(found), _all_times(found)
    whole = {**numbers, **times}
    parts = [whole] if _fits(names, whole, width) else [numbers, times]
    return [_columns(names, part, width) for part in parts]


def _fits(names: Sequence[Text], columns: Mapping[str, Sequence[Text]], width: int) -> bool:
    """Whether these columns leave as much room for the names as they need, or as names are cut to."""
    room = width - sum(_width(title, cells) + task_table.GAP for title, cells in columns.items())
    return room >= min(_width("TASK", names), task_table.NAME_MIN)


def _width(title: str, cells: Sequence[Text]) -> int:
    return max([len(title), *(cell.cell_len for cell in cells)])


def _numbers(found: Sequence[TaskStats]) -> dict[str, list[Text]]:
    """The columns of numbers, by their titles."""
    return {
        **{
            str(state).upper(): [
                Text(_number(each.ended.get(state, 0)), task_table.STYLES[state]) for each in found
            ]
            for state in State
            if state in found[-1].ended
        },
        "RETRIED": [Text(_number(each.retried)) for each in found],
        "PER SECOND": [Text(rate(each.throughput)) for each in found],
    }


def _all_times(found: Sequence[TaskStats]) -> dict[str, list[Text]]:
    """The columns of times, by their titles."""
    return {
        f"{what.upper()} {part}": [_time(getattr(getattr(each, what), part)) for each in found]
        for what in ("wait", "run")
        for part in _TIMES
    }


def _columns(names: Sequence[Text], columns: Mapping[str, Sequence[Text]], width: int) -> Table:
    cells = [(name, *row, Text("")) for name, *row in zip(names, *columns.values(), strict=True)]
    titles = ("TASK", *columns, "")
    return task_table.fitted(titles, cells, width, name="TASK", detail="", right=set(columns))


def _time(seconds: float | None) -> Text:
    return Text("" if seconds is None else short(seconds))


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

"""A supervision tree with its children. Pure."""

from __future__ import annotations

from typing import Final

from rich.text import Text
from rich.tree import Tree

from ....actors.trees.status import ChildStatus, TreeStatus
from ...text import escape, units
from . import task_text

_STYLES: Final = {
    "running": "green",
    "starting": "cyan",
    "restarting": "yellow",
    "stopping": "yellow",
    "failed": "red",
}


def tree(status: TreeStatus | ChildStatus, now: float) -> Tree:
    """A tree or a child, with all that is in it; `now` is in seconds since the epoch."""
    root = Tree(_text(status, now))
    for child in status.children:
        root.children.append(tree(child, now))
    return root


def _text(status: TreeStatus | ChildStatus, now: float) -> Text:
    if isinstance(status, TreeStatus):
        return _line(status.id, "tree", status, now)
    line = _line(status.id, "tree" if status.task is None else escape.one_line(status.task), status, now)
    if status.task_id is not None:
        line.append(f"  {task_text.short_id(status.task_id)}", "dim")
    if status.worker_pid is not None:
        line.append(f"  pid {status.worker_pid}", "dim")
    return line


def _line(id: str, what: str, status: TreeStatus | ChildStatus, now: float) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(escape.one_line(id), "bold")
    line.append(f"  {what}", "dim")
    line.append(f"  {status.state}", _STYLES.get(status.state, ""))
    if status.restarts:
        line.append(f"  {status.restarts:,} restart{'s' * (status.restarts != 1)}", "yellow")
    exit = status.last_exit
    if exit is not None and (exit.kind == "abnormal" or status.state != "running"):
        line.append(
            f"  {escape.one_line(exit.reason)} ({units.duration(max(0.0, now - exit.time))} ago)", "dim"
        )
    return line

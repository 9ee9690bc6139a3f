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


def tree(status: TreeStatus, now: float) -> Tree:
    """The tree; `now` is in seconds since the epoch."""
    root = Tree(_line(status.id, "tree", status, now))
    for child in status.children:
        _add(root, child, now)
    return root


def _add(branch: Tree, child: ChildStatus, now: float) -> None:
    what = "tree" if child.task is None else escape.one_line(child.task)
    line = _line(child.id, what, child, now)
    if child.task_id is not None:
        line.append(f"  {task_text.short_id(child.task_id)}", "dim")
    if child.worker_pid is not None:
        line.append(f"  pid {child.worker_pid}", "dim")
    below = branch.add(line)
    for each in child.children:
        _add(below, each, now)


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

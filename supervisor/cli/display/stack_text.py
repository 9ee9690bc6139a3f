"""The stack of a task as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ....actors.task.stack import TaskStack, ThreadStack
from ...text import escape

_ROLES = {
    "task": "the task",
    "loop": "the event loop of the task",
    "maybe": "perhaps the task",
    "other": "another thread",
}


def lines(stack: TaskStack, *, everything: bool) -> Iterator[str]:
    """The lines, escaped. Without `everything` the threads that are surely not the task's are left out."""
    shown = [each for each in stack.threads if everything or each.role != "other"]
    for number, thread in enumerate(shown):
        if number:
            yield ""
        yield _head(thread, stack.worker_pid)
        yield from escape.lines(str(thread))


def _head(thread: ThreadStack, pid: int) -> str:
    whose = f", of task {thread.task}" if thread.role == "other" and thread.task else ""
    return f"{escape.one_line(thread.name)} of worker {pid}, {_ROLES[thread.role]}{whose} (most recent call last):"

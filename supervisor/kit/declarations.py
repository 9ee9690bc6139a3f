"""What this process declares, as a supervisor takes it in. Each task is packed and unpacked once: a program of tests
makes a thousand supervisors, each of which takes in all its tasks."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakKeyDictionary

from ...actors.task.declaration import Task, registry
from ..tasks.catalog import Declared

#: What was added to a task since it was made.
Additions = tuple[tuple[Any, ...], ...]

_known: Final[WeakKeyDictionary[Task[..., Any], tuple[Additions, Declared]]] = WeakKeyDictionary()


def declared_here() -> dict[str, Declared]:
    """The tasks and actor classes of this process, by name."""
    return {name: _declared(task) for name, task in registry.items() if task.body}


def _declared(task: Task[..., Any]) -> Declared:
    additions = (task.patterns, task.schedules, task.triggers)
    known = _known.get(task)
    if known is None or known[0] != additions:
        known = _known[task] = additions, Declared.of(task.declared())
    return known[1]

"""`@on`, which makes a task a handler of events."""

from __future__ import annotations

from typing import Any, Final

from ..errors import InvalidOption, InvalidTask
from ..task import parameters
from ..task.additions import Addition, task_of
from ..task.declaration import Task
from .pattern import check_pattern

#: Patterns of one handler.
PATTERNS_LIMIT: Final = 100


def on(pattern: str, /, **options: Any) -> Addition:
    """Run this function, or this task, for every event whose name matches the pattern.

    `@on("order.*", retry=5)` on a function declares a task with these options (those of `@task`) and a timeout of
    300 s. Above `@task` it takes no options. It may be given several times, each with one pattern. The function gets
    one argument, the `Event`. Raises InvalidOption for a pattern that no name can match, InvalidTask for a function
    that cannot take one argument.
    """
    if callable(pattern):
        raise InvalidOption('@on takes the pattern of the events\' names: write @on("order.*")')
    checked = check_pattern(pattern)

    def handle(body: Any) -> Any:
        handler = task_of(body, options, "@on")
        _add(handler, checked)
        return handler

    return handle


def _add(handler: Task[..., Any], pattern: str) -> None:
    assert handler.body is not None
    least, most = parameters.positional(handler._signature)
    if not least <= 1 <= most:
        raise InvalidTask(
            f"{handler.name} cannot take one argument, the event: a handler is written as "
            f"def {handler.body.__name__}(event)"
        )
    if pattern in handler.patterns:
        return
    if len(handler.patterns) >= PATTERNS_LIMIT:
        raise InvalidOption(f"{handler.name} has {PATTERNS_LIMIT} patterns, and may have no more")
    handler.patterns = (*handler.patterns, pattern)

"""`@on`, which makes a task a handler of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar, overload

from ..errors import InvalidOption, InvalidTask
from ..task import parameters
from ..task.declaration import Task, task
from .pattern import check_pattern

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds that an attempt of a handler may run if `@on` declares it.
TIMEOUT: Final = 300.0
#: Patterns of one handler.
PATTERNS_LIMIT: Final = 100


class _Handler:
    """What type checkers are told of `@on(…)`: a task stays what it is, a function becomes one."""

    @overload
    def __call__(self, body: Task[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, body: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, body: Any, /) -> Any:
        raise NotImplementedError


def on(pattern: str, /, **options: Any) -> _Handler:
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
        if isinstance(body, Task):
            _check_no_options(body, options)
            handler = body
        else:
            handler = task(**{"timeout": TIMEOUT, **options})(body)
        _add(handler, checked)
        return handler

    return handle  # type: ignore[return-value]


def _check_no_options(handler: Task[..., Any], options: dict[str, Any]) -> None:
    if handler.changes:
        raise InvalidTask(f"{handler.name}: put @on on the task itself, not on a copy made by .options()")
    if options:
        raise InvalidOption(
            f"{handler.name} is declared below already: give {', '.join(options)} there, to @task or to the lowest @on"
        )


def _add(handler: Task[..., Any], pattern: str) -> None:
    if handler.is_class or handler.body is None:
        raise InvalidTask(f"@on goes on a function or a task, not on {handler.name}")
    if handler.refusal is not None:
        raise InvalidTask(handler.refusal)
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

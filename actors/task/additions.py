"""What `@on`, `@cron`, `@every` and `@http` have in common: they add to a task, and declare a function as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, ParamSpec, Protocol, TypeVar, overload

from ..errors import InvalidOption, InvalidTask
from .declaration import Task, task

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds that an attempt may run if such a decorator declares the task.
TIMEOUT: Final = 300.0


class Addition(Protocol):
    """Such a decorator: a task stays what it is, a function becomes one."""

    @overload
    def __call__(self, body: Task[P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, body: Callable[P, R], /) -> Task[P, R]: ...


def task_of(body: Any, options: dict[str, Any], decorator: str) -> Task[..., Any]:
    """The task that the decorator of this name stands on. A function becomes one, with these options.

    Raises InvalidOption for options of a task that is declared below, and InvalidTask for what nothing can start.
    """
    if not isinstance(body, Task):
        body = task(**{"timeout": TIMEOUT, **options})(body)
    elif body.changes:
        raise InvalidTask(
            f"{body.name}: put {decorator} on the task itself, not on a copy made by .options()"
        )
    elif options:
        raise InvalidOption(
            f"{body.name} is declared below already: give {', '.join(options)} there, to @task or to the lowest "
            "decorator"
        )
    found: Task[..., Any] = body
    if found.is_class or found.body is None:
        raise InvalidTask(f"{decorator} goes on a function or a task, not on {found.name}")
    if found.refusal is not None:
        raise InvalidTask(found.refusal)
    return found

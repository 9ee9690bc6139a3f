"""`Call`: one call of a task that is still to be started, with its arguments and options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from .declaration import Task
    from .handles import TaskInfo

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """A task with arguments, made by `Task.call(…)`. `Runtime.start_many` starts many of them in one commit."""

    task: Task[..., R]
    """The task, with the options of this call."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    def options(self, **changes: Any) -> Call[R]:
        """A copy with other options, as `Task.options` takes them: `key`, `delay`, `priority` and so on."""
        return Call(self.task.options(**changes), self.args, self.kwargs)

    def start(self) -> TaskInfo[R]:
        """Start it on the ambient runtime, like `Task.start`."""
        return self.task.start(*self.args, **self.kwargs)

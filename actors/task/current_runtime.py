"""Which runtime `Task.start` and `send` go to when none is named.

In a process that hosts tasks: the tasks' own supervisor, even inside a `with Runtime(...)` of one task's code, since
many tasks share the process and one must not redirect the others. Else the innermost `with Runtime(...)` block of
this process. The stack is the process's, not a thread's: a thread started inside the block starts tasks on the
block's runtime.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import NoRuntime

if TYPE_CHECKING:
    from .declaration import Task
    from .handles import TaskInfo, TaskRecord


class RuntimeLike(Protocol):
    """What the actors' room needs of a runtime; `supervisor.runtime.Runtime` is one."""

    def start(self, task: Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> TaskInfo: ...
    def send(self, id: str, message: Any) -> None: ...
    def close(self, id: str) -> None: ...
    def cancel(self, id: str) -> bool: ...
    def status(self, id: str) -> TaskRecord: ...
    def result(self, id: str, timeout: float | None = None) -> Any: ...
    def wait(self, id: str, timeout: float | None = None) -> TaskRecord: ...
    def wait_for(self, id: str) -> Future[Any]: ...
    def restore(self, id: str) -> Any: ...


_entered: list[RuntimeLike] = []
_own: Callable[[], RuntimeLike] | None = None
_lock = threading.Lock()


def enter(runtime: RuntimeLike) -> None:
    """Make it the innermost one."""
    with _lock:
        _entered.append(runtime)


def leave(runtime: RuntimeLike) -> None:
    """Forget it, wherever in the stack it is."""
    with _lock:
        for index in reversed(range(len(_entered))):
            if _entered[index] is runtime:
                del _entered[index]
                break


def in_worker(own: Callable[[], RuntimeLike]) -> None:
    """This process hosts tasks: `own()` gives the runtime of its supervisor, made when first asked for."""
    global _own  # noqa: PLW0603 - a process is a worker or it is not
    _own = own
    _entered.clear()


def runtime() -> RuntimeLike:
    """The ambient runtime; NoRuntime where there is none."""
    if _own is not None:
        return _own()
    if _entered:
        return _entered[-1]
    raise NoRuntime(
        "no runtime here: call it inside a task or inside `with Runtime(...)`, or use Runtime.connect(home)"
    )

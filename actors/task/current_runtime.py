"""The ambient runtime: `Task.start` and `send` use it when none is named.

In a worker it is the runtime of the tasks' own supervisor. A `with Runtime(...)` in one task's code does not
change that, because many tasks share the process and one must not redirect the others. Elsewhere it is the
innermost `with Runtime(...)` block of the process. All threads of the process share the stack of blocks, so a
thread that was started inside a block starts tasks on the block's runtime.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from ..errors import NoRuntime
from .current_actor import running

if TYPE_CHECKING:
    from .declaration import Task
    from .handles import IdLike, TaskInfo, TaskRecord


P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I", bound="IdLike")  # noqa: E741 - an id


class ArrivalsLike(Protocol):
    """The ends of tasks, one by one; `supervisor.client.gather.Arrivals` has these methods."""

    def pending(self) -> Future[None] | None: ...
    def pop(self) -> bytes: ...


class RuntimeLike(Protocol):
    """The methods of a runtime that this package calls; `supervisor.runtime.Runtime` has them."""

    @overload
    def start(self, task: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[T]: ...
    @overload
    def start(self, task: str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]: ...
    def send(self, id: IdLike, message: Any, *, timeout: float | None = None) -> None: ...
    def close_mailbox(self, id: IdLike, *, timeout: float | None = None) -> None: ...
    def cancel(self, id: IdLike, *, timeout: float | None = None) -> bool: ...
    def status(self, id: IdLike) -> TaskRecord: ...
    @overload
    def result(self, id: TaskInfo[T], timeout: float | None = None) -> T: ...
    @overload
    def result(self, id: IdLike, timeout: float | None = None) -> Any: ...
    def wait(self, id: IdLike, timeout: float | None = None) -> TaskRecord: ...
    @overload
    def wait_for(self, id: TaskInfo[T]) -> Future[T]: ...
    @overload
    def wait_for(self, id: IdLike) -> Future[Any]: ...
    def gather(
        self, ids: Iterable[IdLike], timeout: float | None = None, errors: Any = "raise"
    ) -> list[Any]: ...
    def wait_for_all(self, ids: Iterable[IdLike], errors: Any = "raise") -> Future[list[Any]]: ...
    def as_completed(self, ids: Iterable[I], timeout: float | None = None) -> Iterator[I]: ...
    def arrivals(self, keys: Iterable[bytes]) -> AbstractContextManager[ArrivalsLike]: ...
    def restore(self, id: IdLike) -> Any: ...


_entered: list[RuntimeLike] = []
_own: Callable[[], RuntimeLike] | None = None
_lock = threading.Lock()


def enter(runtime: RuntimeLike) -> None:
    """Make this runtime the innermost one."""
    with _lock:
        _entered.append(runtime)


def leave(runtime: RuntimeLike) -> None:
    """Remove this runtime, at any place in the stack."""
    with _lock:
        for index in reversed(range(len(_entered))):
            if _entered[index] is runtime:
                del _entered[index]
                break


def in_worker(own: Callable[[], RuntimeLike]) -> None:
    """Mark this process as a worker. `own()` gives its supervisor's runtime, made by the first call."""
    global _own  # noqa: PLW0603 - one value for the whole process
    _own = own
    _entered.clear()


def is_workers_own(runtime: object) -> bool:
    """Whether this is the runtime of the supervisor whose worker this process is."""
    own = _workers_own()
    return own is not None and own is runtime


def _workers_own() -> RuntimeLike | None:
    """That of this worker; in another process that of the worker that is hosted there and runs this code."""
    if _own is not None:
        return _own()
    actor = running()
    return None if actor is None else actor.host.runtime()


def runtime() -> RuntimeLike:
    """The ambient runtime; NoRuntime if there is none."""
    if (own := _workers_own()) is not None:
        return own
    if _entered:
        return _entered[-1]
    raise NoRuntime(
        "no runtime here: call it inside a task or inside `with Runtime(...)`, or use Runtime.connect(home)"
    )

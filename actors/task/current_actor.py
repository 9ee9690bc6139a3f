"""The task or actor whose code runs here, as far as lower rooms know of it: enough to wait inside it.

The room `attempt` sets it and has its full type: see `current_actor` and `running_actor` there.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from .current_runtime import RuntimeLike
    from .declaration import Task


class Flag(Protocol):
    """Whether something is over."""

    def is_set(self) -> bool: ...


class Assigned(Protocol):
    """What it was given to do."""

    @property
    def stream(self) -> bytes: ...


class Hosting(Protocol):
    """The worker that runs it."""

    def runtime(self) -> RuntimeLike: ...


class RunningActor(Protocol):
    """What runs a task's code, or an actor's methods."""

    @property
    def id(self) -> bytes: ...
    @property
    def host(self) -> Hosting: ...
    @property
    def assignment(self) -> Assigned: ...
    @property
    def task(self) -> Task[..., Any]: ...
    @property
    def actor_stopped(self) -> Flag: ...
    def wait_future(self, future: Future[Any], timeout: float | None) -> bool: ...


current: Final[ContextVar[RunningActor | None]] = ContextVar("understudy_actor")


def running() -> RunningActor | None:
    """What runs the code of the caller; None outside of tasks, and in what is left of an ended attempt."""
    actor = current.get(None)
    return None if actor is None or actor.actor_stopped.is_set() else actor

"""`map_tasks`: a task for each of many items, with a bounded number under way, each started once.

Which children they are is a step of the parent: it stays over attempts, and so do the ids of the children.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sized
from typing import Any, Final, Literal, TypeVar, overload

from ..attempt.actor import TaskActor, actor_here
from ..attempt.async_actor import AsyncTaskActor
from ..attempt.steps import StepCall
from ..checks import check_choice, check_whole
from ..errors import InvalidOption, NotInTask
from ..map_ids import UNDER_WAY_LIMIT, map_base
from ..step_label import NAME_BYTES
from ..task import current_runtime
from ..task.declaration import Task

T = TypeVar("T")

#: Seconds between two reports of progress.
REPORT_EVERY: Final = 0.1


@overload
def map_tasks(
    task: Task[..., T],
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise"] = "raise",
    key: str | None = None,
) -> Iterator[T]: ...
@overload
def map_tasks(
    task: Task[..., T],
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["return"],
    key: str | None = None,
) -> Iterator[T | Exception]: ...
@overload
def map_tasks(
    task: str,
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise", "return"] = "raise",
    key: str | None = None,
) -> Iterator[Any]: ...
def map_tasks(
    task: Task[..., Any] | str,
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise", "return"] = "raise",
    key: str | None = None,
) -> Iterator[Any]:
    """Start a task for each item, and give their values in the order of the items.

    An item is an argument, a tuple of them or a dict of keyword ones. At most `limit` children have been started whose
    values were not taken. They are known by their places: another attempt at this task gives all values again, from the
    first one on, and starts no child twice. They end with this task at the latest. The wait holds no slot.

    With `errors="raise"` the first child that has not completed ends the map with its error; with "return" the error
    stands in the place of the value. `key` tells apart maps of one task that do not always come in the same order.
    """
    actor = _actor(limit, errors)
    if isinstance(actor, AsyncTaskActor):
        raise NotInTask("map_tasks would block the event loop of an async task: use `aio.map_tasks(…)`")
    call = _call(actor, task, key)
    runtime: Any = current_runtime.runtime()
    made: bytes = actor.do_step(call, actor.host.clock.new_id)
    children = runtime.child_map(_base(actor, made), task, iterable, limit, errors)
    values: Iterator[Any] = children.values(_Progress(actor, iterable))
    return values


def map_tasks_async(
    task: Task[..., Any] | str,
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise", "return"] = "raise",
    key: str | None = None,
) -> AsyncIterator[Any]:
    """As `map_tasks`, in an async task. Which map of its task it is, is counted here."""
    actor = _actor(limit, errors)
    if not isinstance(actor, AsyncTaskActor):
        raise NotInTask("aio.map_tasks works only in an async def task; here use understudy.map_tasks")
    return _values(actor, _call(actor, task, key), task, iterable, limit, errors)


async def _values(
    actor: AsyncTaskActor,
    call: StepCall,
    task: Task[..., Any] | str,
    iterable: Iterable[Any],
    limit: int,
    errors: str,
) -> AsyncIterator[Any]:
    runtime: Any = current_runtime.runtime()

    async def new_id() -> bytes:
        return actor.host.clock.new_id()

    made: bytes = await actor.do_step_async(call, new_id)
    children = runtime.child_map(_base(actor, made), task, iterable, limit, errors)
    async for value in children.values_async(_Progress(actor, iterable)):
        yield value


def _actor(limit: int, errors: str) -> TaskActor:
    check_whole("limit", limit, 1, UNDER_WAY_LIMIT)
    check_choice("errors", errors, ("raise", "return"))
    actor = actor_here("map_tasks")
    if actor.assignment.turn is not None:
        raise NotInTask(
            "map_tasks works in tasks, not in methods of actors, which would answer nobody meanwhile: start a task "
            "that maps, and have it send the actor what it finds"
        )
    return actor


def _call(actor: TaskActor, task: Task[..., Any] | str, key: str | None) -> StepCall:
    """The step that says which children these are: known by the task and which map of it this is, or by the key."""
    name = task if isinstance(task, str) else getattr(task, "name", None)
    if not isinstance(name, str):
        raise InvalidOption(f"map_tasks takes a task (a function with @task) or a name, not {task!r:.80}")
    name = f"map_tasks {name}".encode()[:NAME_BYTES].decode(errors="ignore")
    return StepCall(actor, name, key, None, None)


def _base(actor: TaskActor, made: bytes) -> tuple[bytes, bytes]:
    return actor.id, map_base(made, actor.id)


class _Progress:
    """Reports how many values were given, unless the task itself reports progress."""

    def __init__(self, actor: TaskActor, items: Iterable[Any]) -> None:
        self._actor = actor
        self._total = float(len(items)) if isinstance(items, Sized) else None
        self._next = 0.0

    def __call__(self, done: int) -> None:
        actor = self._actor
        now = actor.host.clock.monotonic()
        if (now >= self._next or done == self._total) and not actor.tells_progress:
            self._next = now + REPORT_EVERY
            actor.host.progress(actor, float(done), self._total, "")

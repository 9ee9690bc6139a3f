"""The awaitable twins of context.py, for `async def` tasks in a worker: `await aio.receive()`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, overload

from ..attempt.actor import CLOSED, actor_here, running_actor
from ..attempt.async_actor import AsyncTaskActor
from ..errors import NotInTask
from ..refs.async_ref import AsyncActorRef
from ..refs.port import ambient, turn_here
from ..task import current_runtime
from ..task.declaration import Task
from ..task.handles import IdLike, TaskInfo, id_of
from ..timeouts import check_timeout, deadline_of, left_of
from . import context
from .context import cancelled, current, progress
from .map_tasks import map_tasks_async
from .step import StepOptions, is_async

if TYPE_CHECKING:
    from uuid import UUID

    from ..box import aio as box
    from ..events.event import EventInfo
    from ..refs.actor import Actor
    from ..refs.ref import ActorRef
    from ..schedules.info import ScheduleInfo
    from ..websocket import aio as ws

__all__ = [
    "actor",
    "as_completed",
    "box",
    "cancelled",
    "checkpoint",
    "current",
    "demonitor",
    "emit",
    "gather",
    "listen",
    "map_tasks",
    "monitor",
    "progress",
    "publish",
    "receive",
    "restore",
    "result",
    "schedule",
    "send",
    "sleep",
    "start",
    "step",
    "ws",
]

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I", bound=IdLike)  # noqa: E741 - an id
A = TypeVar("A", bound="Actor")

#: Makes `import understudy.aio.ws` work: the root's import hook finds the submodule.
__path__: list[str] = []

#: The most threads for calls that wait for the supervisor; each is made when it is needed. asyncio's own pool
#: is too small: tasks that wait for other tasks would fill it, and the rest could not start or send.
_CALLS_AT_ONCE: Final = 10_000


if not TYPE_CHECKING:  # a type checker that saw it would accept every name

    def __getattr__(name: str) -> Any:
        # Imported on first use: `ws` loads `websockets`, and both import this module.
        if name in ("box", "ws"):
            module = import_module("..box.aio" if name == "box" else "..websocket.aio", __package__)
            globals()[name] = module
            return module
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


async def receive(timeout: float | None = None, *, shield: bool = False) -> Any:
    """Wait for the next message; see `understudy.receive`. With `shield` a cancel does not come as a message."""
    message = await _async_actor("receive").receive_async(timeout, shield)
    return None if message is CLOSED else message


async def publish(name: str, value: Any = None) -> None:
    """Hand an item to those that watch this task or its stream; see `understudy.publish`."""
    actor_here("publish").publish(name, value)


async def checkpoint(
    value: Any,
    *,
    send: Iterable[tuple[IdLike, Any]] = (),
    publish: Iterable[tuple[str, Any]] = (),
    emit: Iterable[tuple[str, Any] | tuple[str, Any, str]] = (),
) -> bool:
    """Store the state and acknowledge what was received; see `understudy.checkpoint`."""
    return await _async_actor("checkpoint").checkpoint_async(value, send, publish, emit)


async def restore(task_id: IdLike | None = None) -> Any:
    """The last checkpoint of this task or of another; see `understudy.restore`."""
    if task_id is not None:
        return await _call(current_runtime.runtime().restore, task_id)
    return await _async_actor("restore").restore_async()


async def sleep(seconds: float, *, shield: bool = False) -> bool:
    """Wait; False if the task has been asked to stop, and CancelledError at the next call after that.

    With `shield` an earlier cancel or timeout does not end the wait. A new one raises CancelledError, as it
    does at every `await`.
    """
    return await _async_actor("sleep").sleep_async(seconds, shield)


async def send(id: IdLike, message: Any) -> None:
    """Put a message into another task's mailbox; see `understudy.send`."""
    if turn_here() is not None:
        current_runtime.runtime().send(id, message)  # it leaves with the commit: nothing to wait for
    else:
        await _call(current_runtime.runtime().send, id, message)


async def emit(
    name: str, data: Any = None, *, id: str | None = None, stream_id: str | UUID | None = None
) -> EventInfo:
    """Emit an event; see `understudy.emit`."""
    emit = functools.partial(ambient().emit, name, data, id=id, stream_id=stream_id)
    # In a method of an actor it leaves with the commit: there is nothing to wait for.
    return emit() if turn_here() is not None else await _call(emit)


async def schedule(task: Task[..., Any] | str, /, *args: Any, **options: Any) -> ScheduleInfo:
    """Have a task run once at a time, or again and again; see `understudy.schedule`."""
    return await _call(ambient().schedule, task, *args, **options)


async def listen(pattern: str, *, where: Mapping[str, Any] | None = None, since: float | None = None) -> None:
    """Have matching events put into this task's mailbox; see `understudy.listen`."""
    actor_here("listen")
    await _call(ambient().listen, pattern, where=where, since=since)


async def monitor(id: IdLike | ActorRef[Any] | AsyncActorRef[Any]) -> None:
    """Be told of the end of another task or actor; see `understudy.monitor`."""
    await _call(context.monitor, id)


async def demonitor(id: IdLike | ActorRef[Any] | AsyncActorRef[Any]) -> bool:
    """Be told of it no more; see `understudy.demonitor`."""
    return await _call(context.demonitor, id)


@overload
async def start(task: Task[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[T]: ...
@overload
async def start(task: str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]: ...
async def start(task: Task[..., Any] | str, /, *args: Any, **kwargs: Any) -> TaskInfo[Any]:
    """Start a task on this task's supervisor."""
    return await _call(current_runtime.runtime().start, task, *args, **kwargs)


@overload
async def actor(
    cls: Callable[P, A], name: str | None = None, /, *args: P.args, **kwargs: P.kwargs
) -> AsyncActorRef[A]: ...
@overload
async def actor(cls: str, name: str | None = None, /, *args: Any, **kwargs: Any) -> AsyncActorRef[Any]: ...
async def actor(cls: Any, name: str | None = None, /, *args: Any, **kwargs: Any) -> AsyncActorRef[Any]:
    """Get or start an actor on this task's supervisor; see `understudy.actor`. The reference's calls are coroutines."""
    return AsyncActorRef(await _call(ambient().actor, cls, name, *args, **kwargs))


@overload
async def result(id: TaskInfo[T], timeout: float | None = None) -> T: ...
@overload
async def result(id: IdLike, timeout: float | None = None) -> Any: ...
async def result(id: IdLike, timeout: float | None = None) -> Any:
    """Wait for another task's value; see `Runtime.result`."""
    actor = _async_actor("result")
    seconds = check_timeout(timeout)
    # The wait holds no thread and no slot. Otherwise parents that wait for their children would starve them.
    future: Future[Any] = current_runtime.runtime().wait_for(id)
    try:
        if not await actor.wait_future_async(future, seconds):
            task_id = id.id if isinstance(id, TaskInfo) else str(id)
            raise TimeoutError(f"task {task_id} has not ended within {seconds:g} s")
    finally:
        future.cancel()
    return future.result()


@overload
async def gather(
    infos: Iterable[TaskInfo[T]], timeout: float | None = None, errors: Literal["raise"] = "raise"
) -> list[T]: ...
@overload
async def gather(
    infos: Iterable[TaskInfo[T]], timeout: float | None = None, *, errors: Literal["return"]
) -> list[T | Exception]: ...
@overload
async def gather(
    infos: Iterable[IdLike], timeout: float | None = None, errors: Literal["raise", "return"] = "raise"
) -> list[Any]: ...
async def gather(
    infos: Iterable[IdLike], timeout: float | None = None, errors: Literal["raise", "return"] = "raise"
) -> list[Any]:
    """Wait for several tasks, and return their values in the order given; see `understudy.gather`."""
    actor = _async_actor("gather")
    seconds = check_timeout(timeout)
    future = current_runtime.runtime().wait_for_all(infos, errors)
    try:
        if not await actor.wait_future_async(future, seconds):
            raise TimeoutError(f"the tasks have not all ended within {seconds:g} s")
    finally:
        future.cancel()
    return future.result()


async def as_completed(infos: Iterable[I], timeout: float | None = None) -> AsyncIterator[I]:
    """The tasks, each once it has ended; for `async for`. See `understudy.as_completed`."""
    actor = _async_actor("as_completed")
    seconds, clock = check_timeout(timeout), actor.host.clock
    deadline = deadline_of(seconds, clock)
    known = {id_of(info): info for info in infos}
    with current_runtime.runtime().arrivals(known) as arrivals:
        for _ in known:
            while (news := arrivals.pending()) is not None:
                if not await actor.wait_future_async(news, left_of(deadline, clock)):
                    raise TimeoutError(f"the tasks have not all ended within {seconds:g} s")
            yield known[arrivals.pop()]


@overload
def map_tasks(
    task: Task[..., T],
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise"] = "raise",
    key: str | None = None,
) -> AsyncIterator[T]: ...
@overload
def map_tasks(
    task: Task[..., T],
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["return"],
    key: str | None = None,
) -> AsyncIterator[T | Exception]: ...
@overload
def map_tasks(
    task: str,
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise", "return"] = "raise",
    key: str | None = None,
) -> AsyncIterator[Any]: ...
def map_tasks(
    task: Task[..., Any] | str,
    iterable: Iterable[Any],
    limit: int = 100,
    *,
    errors: Literal["raise", "return"] = "raise",
    key: str | None = None,
) -> AsyncIterator[Any]:
    """Start a task for each item, and give their values in order; for `async for`. See `understudy.map_tasks`."""
    return map_tasks_async(task, iterable, limit, errors=errors, key=key)


class _Step(StepOptions):
    """The class of `aio.step`."""

    __slots__ = ()

    @overload
    def __call__(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def __call__(
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]: ...
    def __call__(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        """Call a function once in the life of this task; see `understudy.step`.

        A coroutine function is awaited. Any other one is called in a thread, so that it does not block the event loop.
        Which call of its name it is is counted here, not when the coroutine is awaited.
        """
        actor = _async_actor("step")
        if is_async(fn):
            function = functools.partial(fn, *args, **kwargs)
        else:
            function = functools.partial(_in_thread, fn, *args, **kwargs)
        return actor.do_step_async(self._call(actor, fn), function)


step: Final = _Step()
"""Call a function once in the life of this task; see `understudy.step`."""


async def _in_thread(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    value = await _call(function, *args, **kwargs)
    return await value if inspect.isawaitable(value) else value


async def _call(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Make a blocking call on another thread, in this task's context."""
    context = contextvars.copy_context()
    call = functools.partial(context.run, function, *args, **kwargs)
    actor = running_actor()
    threads = (None if actor is None else actor.host.calls) or _threads()
    made: Future[T] = threads.submit(call)
    return await asyncio.wrap_future(made)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CALLS_AT_ONCE, thread_name_prefix="understudy-aio")


def _async_actor(what: str) -> AsyncTaskActor:
    actor = actor_here(what)
    if not isinstance(actor, AsyncTaskActor):
        raise NotInTask(f"aio.{what} works only in an async def task; here use understudy.{what}")
    return actor

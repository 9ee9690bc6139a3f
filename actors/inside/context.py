"""The functions that a sync task calls while it runs, in a worker. The awaitable twins are in aio.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeVar, cast, overload

from ..attempt.actor import TaskActor, actor_here, running_actor
from ..attempt.async_actor import AsyncTaskActor
from ..attempt.host import printable
from ..errors import InvalidOption, NotInTask
from ..ids import id_text
from ..refs.port import ambient
from ..task import current_runtime
from ..task.handles import IdLike, TaskInfo
from ..task.trigger import Kind, Trigger

if TYPE_CHECKING:
    from uuid import UUID

    from ..events.event import EventInfo
    from ..refs.actor import Actor
    from ..refs.async_ref import AsyncActorRef
    from ..refs.ref import ActorRef
    from ..schedules.info import ScheduleInfo
    from ..task.declaration import Task

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I", bound="IdLike")  # noqa: E741 - an id
A = TypeVar("A", bound="Actor")

#: Characters of a progress note that are kept.
NOTE_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Current:
    """The running task, as its own code sees it."""

    id: str
    task: str
    attempt: int
    """Number of this attempt, from 1."""
    stream_id: str
    origin_run: str | None
    deadline: float | None
    """When this attempt times out, in seconds since the epoch; None for never."""
    interruptions: int
    cancel_reason: str | None
    """"cancel" or "timeout" once the task has been asked to stop."""
    kind: Kind = "task"
    """As in a `TaskRecord`."""
    trigger: Trigger | None = None
    """What has triggered a run; None for a task that was started or called."""


def receive(timeout: float | None = None, *, shield: bool = False) -> Any:
    """Wait for the next message and return it.

    None when the mailbox is closed and empty; TimeoutError when `timeout` seconds run out. A cancel or a
    timeout arrives as `{"$cancel": True}` before all other messages. A task that knows of it gets Cancelled.
    With `shield` the call takes no notice of it. The wait holds no slot of the worker.
    """
    return _sync_actor("receive").receive(timeout, shield)


def send(id: IdLike, message: Any) -> None:
    """Put a message into another task's mailbox; returns once it is on disk. Also works outside a task.

    Raises MailboxClosed, MailboxFull, TaskNotFound, UnencodableValue.
    """
    current_runtime.runtime().send(id, message)


def emit(
    name: str, data: Any = None, *, id: str | None = None, stream_id: str | UUID | None = None
) -> EventInfo:
    """Emit an event; returns once it is on disk with a run for each of its handlers. See `Runtime.emit`.

    The event belongs to this task's stream. Also works outside a task, inside `with Runtime(...)`.
    """
    return ambient().emit(name, data, id=id, stream_id=stream_id)


def schedule(task: Task[..., Any] | str, /, *args: Any, **options: Any) -> ScheduleInfo:
    """Have a task run once at a time, or again and again. It takes the arguments of `Runtime.schedule`.

    What is due once belongs to this task's stream. Also works outside a task, inside `with Runtime(...)`.
    """
    return ambient().schedule(task, *args, **options)


def listen(pattern: str, *, where: Mapping[str, Any] | None = None, since: float | None = None) -> None:
    """Have every event whose name matches the pattern put into this task's mailbox, from now on until the task ends.

    `receive` gives them as an `Event`. No event that is committed after this returns is missed. `since` brings those
    of the last seconds, too, before all others. `where={"customer.id": 7}` compares fields of the data. Events come
    into a full mailbox, too. In another attempt the same call changes nothing: the task listens already.
    """
    actor_here("listen")
    ambient().listen(pattern, where=where, since=since)


def monitor(id: IdLike | ActorRef[Any] | AsyncActorRef[Any]) -> None:
    """Have one message put into this task's mailbox when another task or actor ends, or now if it has ended.

    It is `{"$down": id, "state": …, "error": {"type": …, "message": …} or None}`, and is committed with that end. It
    comes into a full mailbox, too. An actor gets it in `on_receive`. In another attempt the same call changes nothing:
    the task monitors already, or will receive the message again. Raises TaskNotFound, and InvalidOption for itself and
    for more tasks than its mailbox takes messages.
    """
    here = actor_here("monitor")
    if here.task.is_class:
        _check_receives(here.task)
    with here.inbox.opened():
        ambient().monitor(id)


def demonitor(id: IdLike | ActorRef[Any] | AsyncActorRef[Any]) -> bool:
    """Have no such message put into the mailbox; False if none was to come, or if it is there already."""
    actor_here("demonitor")
    return ambient().demonitor(id)


@overload
def gather(
    infos: Iterable[TaskInfo[T]], timeout: float | None = None, errors: Literal["raise"] = "raise"
) -> list[T]: ...
@overload
def gather(
    infos: Iterable[TaskInfo[T]], timeout: float | None = None, *, errors: Literal["return"]
) -> list[T | Exception]: ...
@overload
def gather(
    infos: Iterable[IdLike], timeout: float | None = None, errors: Literal["raise", "return"] = "raise"
) -> list[Any]: ...
def gather(
    infos: Iterable[IdLike], timeout: float | None = None, errors: Literal["raise", "return"] = "raise"
) -> list[Any]:
    """Wait for several tasks, and return their values in the order given. The wait holds no slot of the worker.

    As soon as a task has not completed, its error is raised (TaskFailed, TaskTimedOut, TaskCancelled, Poisoned); the
    others go on. With `errors="return"` errors stand in the places of values. TimeoutError when `timeout` seconds run
    out. Also works outside a task, inside `with Runtime(...)`.
    """
    return current_runtime.runtime().gather(infos, timeout, errors)


def as_completed(infos: Iterable[I], timeout: float | None = None) -> Iterator[I]:
    """The tasks, each once it has ended in any final state: in the order of their ends, each once.

    The wait holds no slot of the worker. TimeoutError when `timeout` seconds run out. Also works outside a task.
    """
    return current_runtime.runtime().as_completed(infos, timeout)


def _check_receives(task: Task[..., Any]) -> None:
    from ..refs.actor import Actor

    if getattr(task.body, "on_receive", None) is Actor.on_receive:
        raise InvalidOption(
            f"{task.name} has no on_receive(self, message), which gets the message of a monitor"
        )


@overload
def actor(
    cls: Callable[P, A], name: str | None = None, /, *args: P.args, **kwargs: P.kwargs
) -> ActorRef[A]: ...
@overload
def actor(cls: str, name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]: ...
def actor(cls: Any, name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
    """The actor of this class and name; it is started with these arguments if there is none.

    See `Runtime.actor`. Also works outside a task, inside `with Runtime(...)`.
    """
    ref: ActorRef[Any] = ambient().actor(cls, name, *args, **kwargs)
    return ref


def publish(name: str, value: Any = None) -> None:
    """Hand an item to those that watch this task or its stream; see `Runtime.watch`. It returns at once.

    Items are on disk with the next commit, in the order in which the task has published them. In a method of an actor
    they leave with the commit of its message. Also works in async tasks.
    """
    actor_here("publish").publish(name, value)


def checkpoint(
    value: Any,
    *,
    send: Iterable[tuple[IdLike, Any]] = (),
    publish: Iterable[tuple[str, Any]] = (),
    emit: Iterable[tuple[str, Any] | tuple[str, Any, str]] = (),
    shield: bool = False,
) -> bool:
    """Store the task's state and acknowledge every message received so far, in one commit; True once on disk.

    `send=[(id, message), …]` delivers those messages in the same commit, all or nothing. So do
    `publish=[(name, value), …]` and `emit=[(name, data), …]`, where an event may have its id as a third part. If the
    task has been asked to stop and knows it, this raises Cancelled after the commit, unless `shield` is true.
    """
    return _sync_actor("checkpoint").checkpoint(value, send, publish, emit, shield)


def restore(task_id: IdLike | None = None) -> Any:
    """The last checkpoint of this task, or of the task with this id; None if there is none."""
    if task_id is not None:
        return current_runtime.runtime().restore(task_id)
    return _sync_actor("restore").restore()


def cancelled() -> bool:
    """Whether this task has been asked to stop, by a cancel or by its timeout.

    Once this has returned True, the next `receive`, `sleep` or `checkpoint` of a sync task raises Cancelled.
    """
    return actor_here("cancelled").look_for_stop()


def sleep(seconds: float, *, shield: bool = False) -> bool:
    """Wait; False if a cancel or timeout ends the wait early. The wait holds no slot of the worker.

    A task that knows of the cancel or timeout gets Cancelled. With `shield` the call takes no notice of it.
    """
    return _sync_actor("sleep").sleep(seconds, shield)


def progress(done: float, total: float | None = None, note: str = "") -> None:
    """Report progress, for `status`, `ps` and `top`. Cheap: of several quick calls the last is stored."""
    actor = actor_here("progress")
    actor.tells_progress = True
    total = None if total is None else float(total)
    actor.host.progress(actor, float(done), total, printable(str(note), NOTE_LIMIT))


def ready() -> None:
    """Tell this task's supervision tree that it is ready, so that its next child may start. Returns at once.

    It counts for a child that was declared with `ready=True`; in any other task it does nothing.
    """
    actor = actor_here("ready")
    if actor.assignment.tree is not None:
        actor.host.ready(actor, True)


def task_dir() -> Path:
    """This task's own folder for files, below the home; made at the first call.

    All attempts of the task have the same one. It is removed with the task's record.
    """
    actor = actor_here("task_dir")
    return actor.host.folder(actor)


def current() -> Current:
    """The running task: its id, attempt, deadline, stream and so on."""
    actor = actor_here("current")
    assignment = actor.assignment
    return Current(
        id=id_text(assignment.id),
        task=assignment.task,
        attempt=assignment.attempt,
        stream_id=id_text(assignment.stream),
        origin_run=None if assignment.origin is None else id_text(assignment.origin),
        deadline=None if assignment.timeout is None else actor.started + assignment.timeout,
        interruptions=assignment.interruptions,
        cancel_reason=actor.signal,
        kind=cast("Kind", assignment.kind),
        trigger=None if assignment.trigger is None else Trigger.unpack(assignment.trigger),
    )


def lineage_here() -> tuple[bytes, bytes] | None:
    """(id, stream) of the running task, for the tasks that it starts; None outside a task."""
    actor = running_actor()
    return None if actor is None else (actor.assignment.id, actor.assignment.stream)


def _sync_actor(what: str) -> TaskActor:
    actor = actor_here(what)
    if isinstance(actor, AsyncTaskActor):
        raise NotInTask(f"{what} would block the event loop of an async task: use `await aio.{what}(…)`")
    return actor

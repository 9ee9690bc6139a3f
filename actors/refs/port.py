"""The interfaces between the actors' room and the rest.

- `ActorPort`: what a reference needs of a runtime. `supervisor/client/runtime.py` implements it.
- `Turn`: what a reference needs of the turn of an actor that makes the call. `attempt/turn_side.py` implements it.
- `ActorSide`: what an actor's own methods reach through `self`. The same class gives it.
"""

from __future__ import annotations

from concurrent.futures import Future
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ..task import current_runtime
from ..task.current_actor import RunningActor, running

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping
    from uuid import UUID

    from ..events.event import EventInfo
    from ..schedules.info import ScheduleInfo
    from ..task.handles import TaskRecord
    from .actor import Actor
    from .ref import ActorRef

A = TypeVar("A", bound="Actor")


class ActorPort(Protocol):
    """A runtime, as a reference sees it. Every method may be called from any thread."""

    def post(
        self, letters: list[tuple[bytes, bytes]], *, timeout: float | None = None, soon: bool = False
    ) -> Future[None]:
        """Send letters, each with the id of its actor: all or none.

        The future is done once they are on disk, or taken in if the actors are not durable. Its errors:
        ActorDeadError, MailboxFull. With a `timeout` its caller looks at the time; without one it fails when no
        supervisor comes for a while. `soon`: its caller does not wait at once, so it may be sent with others.
        """

    def ask(
        self, id: bytes, letter: bytes, *, timeout: float | None = None, soon: bool = False
    ) -> Future[bytes]:
        """Send a letter that wants an answer, which is a reply (see remote_error.py).

        After a lost connection, and after the end of a supervisor, the same letter is sent again. Cancelling the
        future gives up the wait. Errors of the future are those that the supervisor finds: ActorDeadError,
        Deadlock, ActivationFailed, Poisoned, MailboxFull. For `timeout` and `soon` see `post`.
        """

    def actor_status(self, id: bytes) -> TaskRecord:
        """A snapshot of the actor as on disk; TaskNotFound if its record is gone."""

    def status(self, id: str) -> TaskRecord:
        """As `actor_status`, with the worker that has the actor in memory between turns."""

    def actor(self, cls: type[A], name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[A]:
        """The actor of this class and name, started with these arguments if there is none."""

    def emit(
        self, name: str, data: Any = None, *, id: str | None = None, stream_id: str | UUID | None = None
    ) -> EventInfo:
        """Emit an event; in a method of an actor it leaves with the commit."""

    def listen(
        self, pattern: str, *, where: Mapping[str, Any] | None = None, since: float | None = None
    ) -> None:
        """Have matching events put into the mailbox of the running task."""

    def monitor(self, id: Any) -> None:
        """Have a message put into the mailbox of the running task or actor when another one ends."""

    def demonitor(self, id: Any) -> bool:
        """Have no such message put there; whether one was to come."""
        ...

    def schedule(self, task: Any, /, *args: Any, **options: Any) -> ScheduleInfo:
        """Have a task run by a schedule."""

    def lookup(self, cls: type[A], name: str) -> ActorRef[A] | None:
        """The living actor of this class and name, or None."""

    def actors(
        self,
        cls: type[A] | None = None,
        *,
        prefix: str = "",
        limit: int | None = None,
        after: ActorRef[Any] | None = None,
    ) -> list[ActorRef[Any]]:
        """The living actors in the order of their start."""


class PostKind(IntEnum):
    """What a method sends with its commit, by the number in a TURN report."""

    MESSAGE = 0
    """The encoded message to a task."""
    LETTER = 1
    """A letter to an actor."""
    EVENT = 2
    """An event, under its uid: [id, name, stream, origin, time, encoded event]."""
    ITEM = 3
    """The body of an item, under the stream into which it is published."""


class Turn(RunningActor, Protocol):
    """The turn of an actor whose method makes the call."""

    def post(self, target: bytes, data: bytes, kind: PostKind) -> None:
        """Send a letter, a message to a task or an event with the commit of the message that is being handled."""

    beside: bytes | None
    """The id of the message, if it is read-only and handled while another method waits."""

    def next_ask_id(self, what: bytes) -> bytes:
        """The id for the next ask of this message that wants this: the same one if the message is handled again."""

    def commit_earlier(self) -> None:
        """Send the commit of the messages before this one, because this one is about to wait."""

    def answered(self, letter_id: bytes) -> None:
        """Note that the answer to this ask has arrived."""


class ActorSide(Protocol):
    """What an actor's methods reach while one of them runs."""

    @property
    def message_id(self) -> str: ...
    @property
    def storage(self) -> MutableMapping[str, Any]: ...
    @property
    def ref(self) -> ActorRef[Any]: ...
    def remind(
        self,
        name: str,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        delay: float | None,
        at: float | None,
        every: float | None,
    ) -> None: ...
    def forget(self, name: str) -> bool: ...
    def reminders(self) -> Mapping[str, Any]: ...
    def passivate(self) -> None: ...
    def stop(self) -> None: ...


def ambient() -> ActorPort:
    """The runtime of the calling code; NoRuntime if there is none."""
    return cast("ActorPort", current_runtime.runtime())


def turn_here() -> Turn | None:
    """The turn of the actor whose method makes this call; None outside of actors."""
    actor = running()
    return cast("Turn", actor) if actor is not None and actor.task.is_class else None

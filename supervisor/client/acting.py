"""Acting: the calls of a `Runtime` about class actors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar, overload

from ...actors.ids import id_text
from ...actors.refs.actor import Actor
from ...actors.refs.port import ActorPort
from ...actors.refs.ref import ActorRef
from ...actors.task.handles import TaskRecord
from .actor_calls import ActorCalls, ActorLike, ClassLike
from .calls import Calls
from .letter_wait import AddressedLetter
from .runtime_part import RuntimePart
from .views import DeadLetter

P = ParamSpec("P")
A = TypeVar("A", bound=Actor)


class Acting(RuntimePart):
    """Class actors: starting them, finding them, and sending them messages."""

    _calls: Calls
    _actors: ActorCalls

    @property
    @abstractmethod
    def _handles(self) -> ActorPort:
        """The runtime that references use."""

    @overload
    def actor(
        self, cls: Callable[P, A], name: str | None = None, /, *args: P.args, **kwargs: P.kwargs
    ) -> ActorRef[A]: ...
    @overload
    def actor(self, cls: str, name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]: ...
    def actor(self, cls: Any, name: str | None = None, /, *args: Any, **kwargs: Any) -> ActorRef[Any]:
        """The actor of this class and name; it is started with these arguments if there is none.

        Returns when it is on disk. `cls` is a class or its full name ("module:Class"). Without a name a new actor is
        started. All keyword arguments are those of `__init__`; `call_timeout` limits the call. Raises as `start`.
        """
        deadline = self._deadline(None)
        return self._do(self._actors.actor(self._handles, deadline, cls, name, args, kwargs), deadline)

    def call(
        self, actor: ActorLike, method: str, /, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Any:
        """Call a method of an actor without its class: `rt.call("Account/ada", "deposit", 5)`.

        `actor` is "Class/name", a reference or an id. The class is its full name ("module:Class") or, if no other
        class with an actor of this name has the same, its short one. Raises as `ActorRef.call`.
        """
        return self._actors.find(self._handles, actor).options(timeout=timeout).call(method, *args, **kwargs)

    def redrive(self, actor: ActorLike, id: str | None = None, *, timeout: float | None = None) -> int:
        """Send the dead letters of an actor again, or the one with this id; returns their number."""
        deadline = self._deadline(timeout)
        return self._do(self._actors.redrive(self._handles, deadline, actor, id), deadline, long=True)

    @overload
    def lookup(self, cls: type[A], name: str) -> ActorRef[A] | None: ...
    @overload
    def lookup(self, cls: ClassLike, name: str) -> ActorRef[Any] | None: ...
    def lookup(self, cls: ClassLike, name: str) -> ActorRef[Any] | None:
        """The living actor of this class and name, or None. Reads the store; starts nothing."""
        return self._actors.lookup(self._handles, cls, name)

    @overload
    def actors(
        self,
        cls: type[A],
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> list[ActorRef[A]]: ...
    @overload
    def actors(
        self,
        cls: ClassLike | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> list[ActorRef[Any]]: ...
    def actors(
        self,
        cls: ClassLike | None = None,
        *,
        prefix: str = "",
        limit: int | None = 100,
        after: ActorLike | None = None,
    ) -> list[ActorRef[Any]]:
        """Living actors, of one class or all. For the next page, pass the last one of this page as `after`.

        `prefix` is that of their names.
        """
        return self._actors.actors(self._handles, cls, prefix, limit, after)

    def dead_letters(self, actor: ActorLike) -> list[DeadLetter]:
        """The messages that the actor could not handle, oldest first."""
        return self._actors.dead_letters(self._handles, actor)

    def post(
        self,
        letters: list[AddressedLetter],
        *,
        timeout: float | None = None,
        soon: bool = False,
    ) -> Future[Any]:
        """Send letters, as `ActorRef` makes them, each with the id of its actor: all or none.

        The future is done when they are on disk, or taken in by actors that are not durable. A letter without a key
        is not sent again after a lost connection; the future then raises SupervisorLost. `soon`: they may be sent with
        others.
        """
        return self._actors.post(letters, self._deadline(timeout), self, soon=soon)

    def ask(
        self, id: bytes, letter: bytes, *, timeout: float | None = None, soon: bool = False
    ) -> Future[Any]:
        """Send a letter that wants an answer, as `ActorRef` makes it. The future gives the encoded reply.

        After a lost connection the letter is sent again, under its id. Cancel the future to wait no longer. With a
        `timeout` its caller looks at the time; without one it fails after 10 s without a supervisor. `soon`: it may be
        sent with others, at the latest when somebody waits for the future.
        """
        return self._actors.ask(id, letter, self._deadline(timeout), self, soon=soon)

    def actor_status(self, id: bytes) -> TaskRecord:
        """As `status`, for `ActorRef`, and from the disk alone: without the worker of an actor between turns."""
        return self._calls.status(id_text(id))

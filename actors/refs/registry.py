"""ActorRegistry: the living actors of the ambient runtime, by Pykka's look-ups."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from ..errors import ActorDeadError, InvalidValue
from ..ids import id_bytes
from ..task.declaration import registry
from .futures import ActorFuture
from .port import ambient
from .ref import ActorRef

if TYPE_CHECKING:
    from .actor import Actor

A = TypeVar("A", bound="Actor")


class ActorRegistry:
    """The living actors of the ambient runtime, in the order of their start.

    Unlike Pykka's it has no `register` and `unregister`: the store knows who lives. It reads all of them, while
    `Runtime.actors` reads in parts.
    """

    @classmethod
    def get_all(cls) -> list[ActorRef[Any]]:
        """All of them."""
        return list(ambient().actors(limit=None))

    @classmethod
    def get_by_class(cls, actor_class: type[A]) -> list[ActorRef[A]]:
        """Those of this class or of a class derived from it that is imported here."""
        kinds = {
            task.body
            for task in registry.values()
            if task.is_class and isinstance(task.body, type) and issubclass(task.body, actor_class)
        }
        return sorted(ref for kind in kinds for ref in ambient().actors(kind, limit=None))

    @classmethod
    def get_by_class_name(cls, actor_class_name: str) -> list[ActorRef[Any]]:
        """Those whose class has this name, without its module."""
        return [
            ref
            for ref in cls.get_all()
            if ref.class_name.rpartition(":")[2].rpartition(".")[2] == actor_class_name
        ]

    @classmethod
    def get_by_urn(cls, actor_urn: str) -> ActorRef[Any] | None:
        """The one with this URN, if it is alive."""
        try:
            id = id_bytes(actor_urn.removeprefix("urn:uuid:"))
        except InvalidValue:
            return None
        return next((ref for ref in cls.get_all() if ref.id_bytes == id), None)

    @classmethod
    def broadcast(cls, message: Any, target_class: str | type[Actor] | None = None) -> None:
        """Tell a message to all of them, or to those of a class, given as such or by its name.

        One that dies meanwhile is left out.
        """
        if target_class is None:
            targets: Iterable[ActorRef[Any]] = cls.get_all()
        elif isinstance(target_class, str):
            targets = cls.get_by_class_name(target_class)
        else:
            targets = cls.get_by_class(target_class)
        for told in [ref.tell(message, block=False) for ref in targets]:
            with suppress(ActorDeadError):
                told.get()

    @overload
    @classmethod
    def stop_all(cls, *, block: Literal[True] = True, timeout: float | None = None) -> list[bool]: ...
    @overload
    @classmethod
    def stop_all(cls, *, block: Literal[False], timeout: float | None = None) -> list[ActorFuture[bool]]: ...
    @classmethod
    def stop_all(
        cls, *, block: bool = True, timeout: float | None = None
    ) -> list[bool] | list[ActorFuture[bool]]:
        """Stop all of them, the last started first, each after the other; see `ActorRef.stop`."""
        refs = reversed(cls.get_all())
        if block:
            return [ref.stop(timeout=timeout) for ref in refs]
        return [ref.stop(block=False, timeout=timeout) for ref in refs]

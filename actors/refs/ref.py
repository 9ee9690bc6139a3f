"""The reference to an actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..ids import id_text
from ..values import register
from .port import ActorPort, ambient

if TYPE_CHECKING:
    from .actor import Actor

A = TypeVar("A", bound="Actor")


class ActorRef(Generic[A]):
    """A reference to an actor, which may be dead by now; frozen.

    It is a value: it can be pickled, and be an argument, a message, an attribute or a result. There it speaks to the
    ambient runtime.
    """

    __slots__ = ("_id", "_name", "_port_or_none", "_task")

    def __init__(self, id: bytes, task: str, name: str | None = None, port: ActorPort | None = None) -> None:
        """`task` is the declared name of its class. Without a port, it speaks to the ambient runtime."""
        self._id = id
        self._task = task
        self._name = name
        self._port_or_none = port

    @property
    def id_bytes(self) -> bytes:
        """The id as 16 bytes."""
        return self._id

    @property
    def id(self) -> str:
        """UUIDv7: the id of its task."""
        return id_text(self._id)

    @property
    def actor_urn(self) -> str:
        """The id as a URN."""
        return f"urn:uuid:{self.id}"

    def _port(self) -> ActorPort:
        return ambient() if self._port_or_none is None else self._port_or_none


def _fields(ref: ActorRef[Any]) -> tuple[bytes, str, str | None]:
    return ref._id, ref._task, ref._name


register(ActorRef, "understudy.ActorRef", _fields, lambda fields: ActorRef(*fields))

"""Proxies: an actor as an object whose attributes are futures and whose methods give futures."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from .. import values
from ..errors import ActorDeadError
from .futures import ActorFuture, Answer
from .letter import Op
from .methods import checked_path, is_traversable
from .port import turn_here

if TYPE_CHECKING:
    from .actor import Actor
    from .ref import ActorRef

A_co = TypeVar("A_co", bound="Actor", covariant=True)
T = TypeVar("T")

_ABSENT: Final = object()


def traversable(obj: T) -> T:
    """Let proxies reach the attributes of this attribute of an actor, or of all objects of a class: `@traversable`.

    The same as Pykka's, whose mark counts, too. ValueError for an object with __slots__.
    """
    if hasattr(obj, "__slots__"):
        raise ValueError("traversable() cannot be used to mark an object using slots as traversable")
    obj._pykka_traversable = True  # type: ignore[attr-defined]
    return obj


class ActorProxy(Generic[A_co]):
    """The attributes and methods of an actor.

    - Reading an attribute gives its future; setting one waits until it is set.
    - Calling a method gives the future of its result. `proxy.method.defer(…)` calls it without an answer.
    - A traversable attribute is a proxy itself.

    The class says what each name is. A name that the class does not have may be an attribute or a method of the
    object; it gives an `AttributeFuture`, which is right for both.
    """

    __slots__ = ("_attr_path", "actor_ref")

    actor_ref: ActorRef[A_co]

    def __init__(self, actor_ref: ActorRef[A_co], *, attr_path: tuple[str, ...] = ()) -> None:
        """ActorDeadError if the actor is dead."""
        turn = turn_here()
        if not attr_path and (turn is None or turn.id != actor_ref.id_bytes) and not actor_ref.is_alive():
            raise ActorDeadError(f"{actor_ref} not found", actor_ref.id)
        object.__setattr__(self, "actor_ref", actor_ref)
        object.__setattr__(self, "_attr_path", attr_path)

    def __repr__(self) -> str:
        return f"<ActorProxy for {self.actor_ref}, attr_path={self._attr_path!r}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorProxy):
            return NotImplemented
        return self.actor_ref == other.actor_ref and self._attr_path == other._attr_path

    def __hash__(self) -> int:
        return hash((self.actor_ref, self._attr_path))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a proxy cannot be pickled: pass its actor_ref on, and make another one of that")

    def __dir__(self) -> list[str]:
        own = object.__dir__(self)
        cls = self.actor_ref._class()
        there = [] if cls is None else dir(cls if not self._attr_path else _at(cls, self._attr_path))
        return sorted({*own, *(name for name in there if not name.startswith("_"))})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        path = (*self._attr_path, name)
        cls = self.actor_ref._class()
        found = _ABSENT if cls is None else _at(cls, path)
        if found is _ABSENT:
            return AttributeFuture(self.actor_ref, path)
        if isinstance(found, property | functools.cached_property):
            return _get(self.actor_ref, path)
        if isinstance(found, staticmethod | classmethod) or callable(found):
            return CallableProxy(self.actor_ref, path)
        if is_traversable(found):
            return ActorProxy(self.actor_ref, attr_path=path)
        return _get(self.actor_ref, path)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the actor; raises the error of doing so."""
        if name == "actor_ref" or name.startswith("_"):
            raise AttributeError(f"{self!r}: {name!r} cannot be set")
        path = checked_path(".".join((*self._attr_path, name)))
        self.actor_ref._asked(True, None, None, Op.SET, path, values.pack(value, name), 0)


class CallableProxy(Generic[A_co]):
    """A method of an actor, which was not called yet."""

    __slots__ = ("_attr_path", "actor_ref")

    def __init__(self, actor_ref: ActorRef[A_co], attr_path: tuple[str, ...]) -> None:
        self.actor_ref = actor_ref
        self._attr_path = attr_path

    def __repr__(self) -> str:
        return f"<CallableProxy for {self.actor_ref}, attr_path={self._attr_path!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> ActorFuture[Any]:
        """Call it; the future of its result."""
        return self.actor_ref.submit(".".join(self._attr_path), *args, **kwargs)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Call it without an answer, as `tell` sends a message."""
        self.actor_ref.cast(".".join(self._attr_path), *args, **kwargs)


class AttributeFuture(Answer[Any]):
    """The future of an attribute of which the class says nothing.

    It can be called, and has attributes, for the case that the object has a method or a traversable part of this
    name.
    """

    __slots__ = ("_path", "_ref")

    def __init__(self, ref: ActorRef[Any], path: tuple[str, ...]) -> None:
        asked = _get(ref, path)
        super().__init__(asked._raw, asked._read, asked._who, asked._timeout, asked._asked)
        self._ref = ref
        self._path = path

    def __call__(self, *args: Any, **kwargs: Any) -> ActorFuture[Any]:
        """Call the method of this name; the future of its result."""
        return CallableProxy(self._ref, self._path)(*args, **kwargs)

    def defer(self, *args: Any, **kwargs: Any) -> None:
        """Call the method of this name without an answer."""
        CallableProxy(self._ref, self._path).defer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        return getattr(ActorProxy(self._ref, attr_path=self._path), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute of the part of this name; raises the error of doing so."""
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(ActorProxy(self._ref, attr_path=self._path), name, value)


def _get(ref: ActorRef[Any], path: tuple[str, ...]) -> Answer[Any]:
    answer: Answer[Any] = ref._asked(False, None, None, Op.GET, checked_path(".".join(path)), None, 0)
    return answer


def _at(cls: type, path: tuple[str, ...]) -> Any:
    """What a class says of the attribute at this path; _ABSENT if nothing. Runs no property."""
    place: Any = cls
    for number, name in enumerate(path):
        if number and not is_traversable(place):
            return _ABSENT
        place = inspect.getattr_static(place, name, _ABSENT)
        if place is _ABSENT:
            return _ABSENT
    return place

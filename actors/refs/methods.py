"""The methods of an actor class, as calls of them need to know them, and the attributes that a path leads to."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ..errors import InvalidOption
from ..task import parameters
from ..task.annotations import NONE, Annotations
from .read_only import is_read_only

#: The mark of attributes whose own attributes can be reached from outside: Pykka's names for it.
_MARKS: Final = ("_pykka_traversable", "pykka_traversable")


class Method(NamedTuple):
    """A method, found on its class. The types of its arguments and of its result are looked up at the first call."""

    name: str
    read_only: bool
    signature: inspect.Signature | None
    """Without `self`; None if Python knows none."""
    positional: tuple[int, int]
    """See `parameters.positional`."""
    annotations: Annotations

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """TypeError if it cannot be called with these arguments."""
        least, most = self.positional
        if self.signature is not None and (kwargs or not least <= len(args) <= most):
            parameters.check(self.name, self.signature, args, kwargs)


@functools.lru_cache(4096)
def method_of(cls: Any, path: str) -> Method | None:
    """The method of a class by its name; None if the class alone does not tell, as for an attribute of an object."""
    function = inspect.getattr_static(cls, path, None)
    if isinstance(function, staticmethod | classmethod):
        function = getattr(cls, path)
        bound = function
    else:
        bound = functools.partial(function, None) if inspect.isfunction(function) else None
    if bound is None:
        return None
    try:
        signature = inspect.signature(bound)
    except (ValueError, TypeError):
        return Method(path, is_read_only(function), None, parameters.positional(None), NONE)
    annotations = Annotations.of(function, signature, function)
    return Method(path, is_read_only(function), signature, parameters.positional(signature), annotations)


def path_of(cls: type | None, method: Callable[..., Any] | str) -> str:
    """The path of a method in a letter: that of a name, or of a function of this class.

    `cls` is None if the class is not imported here. InvalidOption for a function of another class.
    """
    if isinstance(method, str):
        return checked_path(method)
    try:
        return _path_of(cls, method)
    except TypeError:  # it cannot be hashed, so it is no function
        raise _no_method(cls, method) from None


@functools.lru_cache(4096)
def _path_of(cls: Any, method: Any) -> str:
    name = getattr(method, "__name__", None)
    if not isinstance(name, str) or not (cls is None or _has(cls, name, method)):
        raise _no_method(cls, method)
    return checked_path(name)


def _no_method(cls: type | None, method: object) -> InvalidOption:
    of = "a class of actors" if cls is None else cls.__qualname__
    return InvalidOption(f"{method!r:.80} is no method of {of}: pass the method of the class, or its name")


def _has(cls: type, name: str, method: Any) -> bool:
    """Whether it is a method of this class, or one that this class overrides."""
    return any(name in vars(base) and getattr(base, name, None) == method for base in cls.__mro__)


def checked_path(path: str) -> str:
    """A path of public names with dots between them; AttributeError for another."""
    for part in path.split("."):
        if not part.isidentifier() or part[0] == "_":
            raise AttributeError(f"{path!r:.80} is no public attribute: names with a leading _ are private")
    return path


def is_traversable(value: object) -> bool:
    """Whether its attributes can be reached from outside the actor."""
    return any(getattr(value, mark, False) is True for mark in _MARKS)


def place_of(actor: object, path: str) -> tuple[Any, str]:
    """The object and the name of the attribute that a path leads to. AttributeError if it is private or absent."""
    *parents, name = checked_path(path).split(".")
    place: Any = actor
    for parent in parents:
        part = getattr(place, parent)
        if not is_traversable(part):
            raise AttributeError(
                f"{type(place).__qualname__}.{parent} is not traversable, so {name!r} in it cannot be reached: mark it "
                "with understudy.traversable"
            )
        place = part
    return place, name


def attribute_at(actor: object, path: str) -> Any:
    """The attribute that a path leads to."""
    place, name = place_of(actor, path)
    return getattr(place, name)


def set_attribute_at(actor: object, path: str, value: Any) -> None:
    """Set the attribute that a path leads to."""
    place, name = place_of(actor, path)
    setattr(place, name, value)

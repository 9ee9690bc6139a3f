"""`@read_only`: methods that change nothing, and the view of an actor in which they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from ..errors import ReadOnly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .actor import Actor
    from .port import ActorSide
    from .ref import ActorRef

F = TypeVar("F", bound=Callable[..., Any])
A = TypeVar("A", bound="Actor")

_MARK: Final = "_understudy_read_only"
#: By actor class: the class of its views.
_views: Final[dict[type, type]] = {}


def read_only(method: F) -> F:
    """Declare that a method of an actor changes nothing.

    It may run while another method of the actor waits, and then sees what that one has done so far. While it runs,
    setting an attribute, storage or a reminder raises ReadOnly.
    """
    if not callable(method):
        raise TypeError(f"@read_only goes on a method, below @property and the like: {method!r:.80}")
    setattr(method, _MARK, True)
    return method


def is_read_only(method: object) -> bool:
    """Whether the method was declared so."""
    return getattr(method, _MARK, False) is True


def read_only_view(actor: A, side: ActorSide) -> A:
    """The same actor with the same attributes, which cannot be set through it. `side` is that of this message."""
    kind = _views.get(type(actor))
    if kind is None:
        kind = _views[type(actor)] = _view_of(type(actor))
    view: A = object.__new__(kind)
    object.__setattr__(view, "__dict__", actor.__dict__)
    object.__setattr__(view, "_understudy_side", ReadOnlySide(side))
    return view


def _view_of(kind: type) -> type:
    def refuse(self: object, name: str, value: object = None) -> NoReturn:
        raise ReadOnly(
            f"a @read_only method cannot set {kind.__qualname__}.{name}: take @read_only off the method, or have it "
            "return the value"
        )

    namespace = {
        "__slots__": ("_understudy_side",),
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__setattr__": refuse,
        "__delattr__": refuse,
        # A property of the class goes before the attribute that the actor itself has.
        "_understudy": property(lambda self: self._understudy_side),
        "_understudy_view_of": kind,
    }
    return type(kind)(kind.__name__, (kind,), namespace)


class ReadOnlySide:
    """An actor's side for a method that changes nothing."""

    def __init__(self, side: ActorSide) -> None:
        self._side = side

    @property
    def message_id(self) -> str:
        return self._side.message_id

    @property
    def ref(self) -> ActorRef[Any]:
        return self._side.ref

    @property
    def storage(self) -> MutableMapping[str, Any]:
        return ReadOnlyStorage(self._side.storage)

    def reminders(self) -> Mapping[str, Any]:
        return self._side.reminders()

    def remind(self, *args: object) -> NoReturn:
        raise _refused("set a reminder")

    def forget(self, name: str) -> NoReturn:
        raise _refused("forget a reminder")

    def passivate(self) -> NoReturn:
        raise _refused("passivate its actor")

    def stop(self) -> NoReturn:
        raise _refused("stop its actor")


class ReadOnlyStorage(MutableMapping[str, Any]):
    """A storage that cannot be written; everything else is that of the storage itself."""

    def __init__(self, storage: MutableMapping[str, Any]) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __getitem__(self, key: str) -> Any:
        return self._storage[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._storage)

    def __len__(self) -> int:
        return len(self._storage)

    def __contains__(self, key: object) -> bool:
        return key in self._storage

    def keys(self, *args: Any, **kwargs: Any) -> Any:
        return self._storage.keys(*args, **kwargs)

    def values(self, *args: Any, **kwargs: Any) -> Any:
        return self._storage.values(*args, **kwargs)

    def items(self, *args: Any, **kwargs: Any) -> Any:
        return self._storage.items(*args, **kwargs)

    def __setitem__(self, key: str, value: object) -> NoReturn:
        raise _refused(f"write storage[{key!r:.40}]")

    def __delitem__(self, key: str) -> NoReturn:
        raise _refused(f"delete storage[{key!r:.40}]")

    def clear(self) -> NoReturn:
        raise _refused("clear storage")


def _refused(what: str) -> ReadOnly:
    return ReadOnly(f"a @read_only method cannot {what}: take @read_only off the method")

"""`Resident`: the object of an actor with what a worker knows of it, which stays in memory between its turns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from typing import Any, Final, NamedTuple, TypeVar, cast

import msgpack

from .. import values
from ..errors import InvalidValue, UnencodableValue, ValueTooLarge
from ..refs.actor import Actor, public_methods, read_only_methods, restore_state, state_of
from ..refs.actor_options import ActorOptions
from ..refs.letter import Letter, Op
from ..refs.methods import checked_path, method_of, place_of
from ..refs.port import ActorSide
from ..refs.read_only import read_only_view
from ..task.annotations import NONE, Annotations
from .host import Ending, Outcome

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A function of the class with its arguments. What it returns may have to be awaited."""

R = TypeVar("R")

_SIDE: Final = "_understudy"


class Traits(NamedTuple):
    """What a turn needs to know of an actor class."""

    options: ActorOptions
    read_only: frozenset[str]
    """Names of its methods that change nothing."""
    hooks: frozenset[str]
    """Names of the hooks that it has of its own."""


@functools.lru_cache(None)
def traits_of(cls: Any) -> Traits:
    """Those of a class."""
    hooks = ("on_start", "on_passivate", "on_stop", "on_failure")
    return Traits(
        cls.actor_options,
        frozenset(read_only_methods(cls)),
        frozenset(name for name in hooks if getattr(cls, name) is not getattr(Actor, name)),
    )


class Resident:
    """One activation of an actor."""

    __slots__ = ("generation", "object", "packed", "reminders", "traits", "unsaved")

    def __init__(self, generation: int, cls: type[Actor]) -> None:
        self.generation = generation
        self.traits = traits_of(cast("Any", cls))
        #: The object itself, whose `__init__` has yet to be called, or its state to be given.
        self.object: Actor = cls.__new__(cls)
        #: Its attributes as of the last message that was handled, encoded.
        self.packed = b""
        #: Whether they differ from what is on disk although no message has changed them: they were upgraded.
        self.unsaved = False
        #: Names of reminders: at least those that are set. None: not known.
        self.reminders: set[str] | None = None

    def joins(self, side: ActorSide | None) -> None:
        """Give the object its side of the turn that begins; None when it ends."""
        vars(self.object)[_SIDE] = side

    @property
    def cls(self) -> Any:
        """The class of the object."""
        return type(self.object)

    # --- state ---

    def restore(self, state: bytes) -> Call | None:
        """Give the object this stored state. If that is of an earlier version, the call that upgrades it first."""
        try:
            version, packed = msgpack.unpackb(state)
            attributes = values.unpack(packed)
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise InvalidValue(f"its stored state cannot be read: {error}") from error
        ours = self.traits.options.state_version
        if version > ours:
            raise InvalidValue(
                f"its state is of version {version}, and this code is of state_version {ours}: run the newer code, "
                "which has written it"
            )
        if version < ours:
            return type(self.object).upgrade, (attributes, version), {}
        restore_state(self.object, attributes)
        return None

    def upgrade(self, attributes: Any) -> None:
        """Give the object its upgraded state, which is stored when a message changes something."""
        if not isinstance(attributes, dict) or not all(isinstance(name, str) for name in attributes):
            raise TypeError(
                f"{type(self.object).__qualname__}.upgrade returned {attributes!r:.80}: it must return the attributes, "
                "a dict by name"
            )
        restore_state(self.object, attributes)
        self.unsaved = True

    def changed_state(self) -> bytes | None:
        """The encoded attributes; None if they are as in `packed`."""
        limit = self.traits.options.state_limit
        try:
            packed = values.pack(state_of(self.object), "state", limit)
        except UnencodableValue as error:
            told = f"{error}, or name the attribute in `transient` and make it in on_start"
            raise UnencodableValue(told, error.path) from error.__cause__
        except ValueTooLarge as error:
            told = (
                f"its state takes {error.size:,} bytes; state_limit is {limit:,}. Keep data in self.storage"
            )
            raise ValueTooLarge(told, error.size, limit) from None
        return None if packed == self.packed else packed

    def roll_back(self) -> None:
        """Give the object the attributes that it had last. Transient ones stay."""
        try:
            if values.pack(state_of(self.object), "state") == self.packed:
                return  # what the transient ones refer to stays the same
        except InvalidValue:
            pass
        restore_state(self.object, values.unpack(self.packed))

    def stored(self) -> bytes:
        """Its state as on disk."""
        packed: bytes = msgpack.packb((self.traits.options.state_version, self.packed))
        return packed

    # --- messages ---

    def reads(self, letter: Letter) -> bool:
        """Whether what the letter calls is declared to change nothing."""
        name = "on_receive" if letter.op is Op.MESSAGE else letter.path if letter.op is Op.CALL else None
        return name in self.traits.read_only

    def call_of(self, letter: Letter, view: Actor) -> tuple[Call, Annotations]:
        """What a letter wants to be called, on the object or a view of it, and the types of that."""
        payload = None if letter.payload is None else values.unpack(letter.payload)
        path = letter.path
        if path is None:
            return (view.on_receive, (payload,), {}), NONE
        if "." in path:
            (place, name), method = place_of(view, path), None
        else:
            place, name, method = view, _checked(path), method_of(self.cls, path)
        if letter.op is Op.GET:
            return (getattr, (place, name), {}), NONE
        if letter.op is Op.SET:
            return (setattr, (place, name, payload), {}), NONE
        function = self._function(place, name)
        if not callable(function):
            cls = type(self.object).__qualname__
            instead = f"{cls}.{path} is no method: read it as an attribute, by proxy().{path}.get()"
            raise AttributeError(instead)  # noqa: TRY004 - as for one that is not there
        args, kwargs = ((), {}) if payload is None else payload
        types = NONE if method is None else method.annotations
        return (function, *(types.lift(args, kwargs) if types.typed else (args, kwargs))), types

    def _function(self, place: Any, name: str) -> Any:
        try:
            return getattr(place, name)
        except AttributeError as error:
            within = error.__traceback__ is not None and error.__traceback__.tb_next is not None
            if within or not isinstance(place, Actor):
                raise
            there = ", ".join(sorted(public_methods(self.cls))) or "none"
            raise AttributeError(f"{error}. The methods of {self.cls.__qualname__}: {there}") from None

    def retry_delay(self, outcome: Outcome, tries: int) -> float | None:
        """Seconds until a letter that was told, and tried so often before, is tried again; None if it has failed."""
        policy = self.traits.options.retry
        if outcome.ending is Ending.RETRY_LATER:
            again = not policy.attempts or tries < policy.attempts
        else:
            names = outcome.error[3] if outcome.error else []
            again = outcome.ending is Ending.ERROR and tries < policy.attempts and policy.wants(names)
        if not again:
            return None
        return policy.wait(tries) if outcome.delay is None else max(0.0, outcome.delay)

    def view(self, side: ActorSide) -> Actor:
        """The object for a method that changes nothing."""
        return read_only_view(self.object, side)


_checked: Final = functools.lru_cache(4096)(checked_path)


def encoded(value: Any, types: Annotations, limit: int) -> bytes | None:
    """What a method returned; None for None."""
    if value is None:
        return None
    plain = value if types.result is None else types.result.lower(value, "result")
    return values.pack(plain, "result", limit)


def class_of(body: object) -> type[Actor]:
    """The class of a task that is an actor."""
    return cast("type[Actor]", body)


def driven(play: Generator[Call, Any, R]) -> R:
    """Make the calls that `play` yields, and give it what they return or raise. What it returns."""
    try:
        function, args, kwargs = next(play)
        while True:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - `play` decides
                function, args, kwargs = play.throw(error)
            else:
                function, args, kwargs = play.send(result)
    except StopIteration as end:
        value: R = end.value
        return value


async def driven_async(play: Generator[Call, Any, R]) -> R:
    """As `driven`; what can be awaited is awaited."""
    try:
        function, args, kwargs = next(play)
        while True:
            try:
                result = function(*args, **kwargs)
                if hasattr(result, "__await__"):
                    result = await result
            except BaseException as error:  # noqa: BLE001 - `play` decides
                function, args, kwargs = play.throw(error)
            else:
                function, args, kwargs = play.send(result)
    except StopIteration as end:
        value: R = end.value
        return value

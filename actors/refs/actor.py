"""The base class of class actors, how a class is declared, and what of an object is its state.

The life of an actor:

1. `__init__` runs once in its life, with the arguments of its start.
2. `on_start` runs at every activation: after `__init__`, and whenever the object is built anew from its state.
3. Each message is one call of `on_receive` or of a method. Only one runs at a time.
4. `on_passivate` runs before the object leaves memory. The next message activates the actor again, anywhere.
5. `on_stop` runs when the actor stops. Its return value is the result of the actor.

A plain call of the class gives a plain object, for unit tests: there `storage` and its like raise NotInTask.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from ..checks import check_seconds, is_number
from ..errors import InvalidOption, InvalidTask, NotInTask
from ..task.declaration import Task, declare
from .actor_options import ActorOptions
from .methods import path_of
from .port import ActorSide, ambient
from .read_only import is_read_only

if TYPE_CHECKING:
    from .ref import ActorRef

A = TypeVar("A", bound="Actor")

#: Bytes that the name of an actor class may take, as UTF-8, and that of an actor.
CLASS_NAME_LIMIT: Final = 200
NAME_LIMIT: Final = 200
#: Bytes that the name of a reminder may take.
REMINDER_NAME_LIMIT: Final = 200
#: The shortest period of a reminder, in seconds.
EVERY_LEAST: Final = 0.1
#: What is not state, beside `transient`: attributes whose names begin so.
_OWN: Final = "_understudy"

_HOOKS: Final = ("on_start", "on_receive", "on_passivate", "on_stop", "on_failure")
_log: Final = logging.getLogger("understudy")


class Actor:
    """An object that one message at a time changes. Derive from it: `class Account(Actor, durable=True):`.

    The options follow the base class, as they stand in `ActorOptions`, with `name` (by default `module:Class`) and
    `aliases` (former names). A subclass has the options of its base class unless it gives others.

    Every attribute is state but those named in `transient` and cached properties: with `durable=True` it is kept
    with the commit of each message, as a value.
    """

    transient: ClassVar[tuple[str, ...]] = ()
    """Attributes that are not state. Make them in `on_start`."""
    actor_options: ClassVar[ActorOptions] = ActorOptions()
    """The options in force."""

    _understudy: ActorSide | None = None
    """What its methods reach while one of them runs; None otherwise."""
    _understudy_task: ClassVar[Task[..., Any]]
    _understudy_kept_out: ClassVar[frozenset[str]] = frozenset()
    _understudy_cached: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        **options: Any,
    ) -> None:
        super().__init_subclass__()
        if "_understudy_view_of" in vars(cls):
            return  # see read_only.py
        cls.actor_options = cls.actor_options.changed(options)
        _check_no_slots(cls)
        _check_hooks(cls)
        cls._understudy_kept_out = cls._understudy_kept_out | _checked_transient(cls)
        cls._understudy_cached = cls._understudy_cached | {
            name for name, value in vars(cls).items() if isinstance(value, functools.cached_property)
        }
        cls._understudy_task = declare(
            cls, name, cls.actor_options, aliases, kind=ActorTask, name_bytes=CLASS_NAME_LIMIT
        )

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> ActorRef[Self]:
        """Start an actor without a name on the ambient runtime; the arguments are those of `__init__`.

        `Runtime.actor(cls, name, *args)` gets or starts one with a name.
        """
        return ambient().actor(cls, None, *args, **kwargs)

    # --- hooks ---

    def on_start(self) -> Any:
        """Runs at every activation, before the first message."""

    def on_receive(self, message: Any) -> Any:
        """Handles a message of `tell` or `ask`, and returns the answer. By default it logs a warning."""
        _log.warning("Unexpected message received by %s: %s", self, message)

    def on_passivate(self) -> Any:
        """Runs before the object leaves memory."""

    def on_stop(self) -> Any:
        """Runs when the actor stops. What it returns is the actor's result."""

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        """Runs after a message that nobody waits for has failed for good."""

    @classmethod
    def upgrade(cls, state: dict[str, Any], version: int) -> dict[str, Any]:
        """The attributes for this class, of those that were stored by an earlier `state_version`."""
        raise NotImplementedError(
            f"{cls.__qualname__} has state of version {version}, and its code is of version "
            f"{cls.actor_options.state_version}: give it a classmethod upgrade(cls, state, version)"
        )

    # --- what its methods may use ---

    @property
    def actor_ref(self) -> ActorRef[Self]:
        """The reference to this actor."""
        return _side(self, "actor_ref").ref

    @property
    def actor_urn(self) -> str:
        """Its id as a URN."""
        urn: str = self.actor_ref.actor_urn
        return urn

    @property
    def message_id(self) -> str:
        """The id of the message that is being handled. It stays the same when the message is handled again."""
        return _side(self, "message_id").message_id

    @property
    def storage(self) -> MutableMapping[str, Any]:
        """Rows of its own on disk, by text keys: a sorted mapping that is read when used, as large as the disk."""
        return _side(self, "storage").storage

    def remind(
        self,
        name: str,
        method: Callable[..., Any] | str,
        *args: Any,
        delay: float | None = None,
        at: float | datetime | None = None,
        every: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Have a method called later: after `delay` seconds, `at` a time, `every` so many seconds, or both.

        A reminder of the same name is replaced. It is set with the commit of this message, wakes a passive actor,
        and arrives as a message. Periods that were missed arrive once.
        """
        side = _side(self, "remind")
        side.remind(
            checked_reminder_name(name),
            path_of(type(self), method),
            args,
            kwargs,
            *_checked_times(delay, at, every),
        )

    def forget(self, name: str) -> bool:
        """Drop the reminder of this name; whether there was one."""
        return _side(self, "forget").forget(name)

    def reminders(self) -> Mapping[str, Any]:
        """The reminders that are set, by name."""
        return _side(self, "reminders").reminders()

    def passivate(self) -> None:
        """Leave memory after this message. The next message or reminder builds the object anew."""
        _side(self, "passivate").passivate()

    def stop(self) -> None:
        """Stop the actor after this message. Messages that were sent before are still handled."""
        _side(self, "stop").stop()

    def __str__(self) -> str:
        if self._understudy is None:
            return type(self).__qualname__
        return f"{type(self).__qualname__} ({self.actor_urn})"


class ActorTask(Task[..., Any]):
    """The declaration of an actor class: the task that an actor is."""

    def declared(self) -> dict[str, Any]:
        """As that of a task; its field "actor" holds what only actors have."""
        assert isinstance(self.options_in_force, ActorOptions)
        own = {
            **self.options_in_force.pack_own(),
            "read_only": sorted(read_only_methods(self.body)),
            # Whether its code has to run before it leaves memory.
            "on_passivate": getattr(self.body, "on_passivate", None) is not Actor.on_passivate,
        }
        return {**super().declared(), "actor": own}


def task_of(cls: type[Actor]) -> Task[..., Any]:
    """The declaration of an actor class; InvalidTask if it is none, or if workers could not find it."""
    if not isinstance(cls, type) or not issubclass(cls, Actor) or cls is Actor:
        raise InvalidTask(f"{cls!r:.80} is no actor class: derive it from understudy.Actor")
    task = cls._understudy_task
    if task.refusal is not None:
        raise InvalidTask(task.refusal)
    return task


def read_only_methods(cls: Any) -> Iterator[str]:
    """The names of the methods of a class that are declared `@read_only`."""
    return (name for name in dir(cls) if is_read_only(inspect.getattr_static(cls, name)))


def public_methods(cls: Any) -> Iterator[str]:
    """The names of the methods that a class has beside those of every actor."""
    names = (name for name in dir(cls) if not name.startswith("_") and not hasattr(Actor, name))
    return (name for name in names if callable(inspect.getattr_static(cls, name)))


# --- state ---


def state_of(actor: Actor) -> dict[str, Any]:
    """The attributes that are its state."""
    left_out = actor._understudy_kept_out | actor._understudy_cached
    return {
        name: value
        for name, value in vars(actor).items()
        if name not in left_out and not name.startswith(_OWN)
    }


def restore_state(actor: Actor, state: dict[str, Any]) -> None:
    """Give it these attributes in place of its state. Transient ones stay; cached properties are dropped."""
    attributes = vars(actor)
    stay = {
        name: value
        for name, value in attributes.items()
        if name in actor._understudy_kept_out or name.startswith(_OWN)
    }
    attributes.clear()
    attributes.update(state)
    attributes.update(stay)


# --- checks ---


def _side(actor: Actor, what: str) -> ActorSide:
    side = actor._understudy
    if side is None:
        raise NotInTask(
            f"self.{what} works only in a method of an actor that runs: start it, do not call the class"
        )
    return side


def _check_no_slots(cls: type) -> None:
    for base in cls.__mro__:
        if base.__module__ == "builtins" and base is not object:
            raise InvalidTask(
                f"{cls.__qualname__} derives from {base.__qualname__}, whose content is no attribute: an actor's state "
                "is its attributes. Keep it in one of them"
            )
        slots = vars(base).get("__slots__", ())
        slots = (slots,) if isinstance(slots, str) else slots
        if any(slot not in ("__dict__", "__weakref__") for slot in slots):
            raise InvalidTask(
                f"{base.__qualname__} has __slots__: an actor's state is what vars() shows. Leave them out"
            )


def _check_hooks(cls: type) -> None:
    for name in _HOOKS:
        hook = getattr(cls, name)
        if inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
            raise InvalidTask(
                f"{hook.__qualname__} is a generator: a hook is called, nobody iterates over it"
            )
    if not inspect.ismethod(getattr(cls, "upgrade", None)):
        raise InvalidTask(
            f"{cls.__qualname__}.upgrade must be a classmethod: there is no object yet when it runs"
        )


def _checked_transient(cls: type[Actor]) -> frozenset[str]:
    names = vars(cls).get("transient", ())
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidOption(
            f'{cls.__qualname__}.transient must be a tuple of names, as ("bank",): {names!r:.80}'
        )
    checked = frozenset(names)
    if not all(isinstance(name, str) and name.isidentifier() for name in checked):
        raise InvalidOption(f"{cls.__qualname__}.transient must hold names of attributes: {names!r:.80}")
    return checked


def checked_actor_name(name: object) -> str:
    """The name of an actor: 1 to 200 bytes of UTF-8 without NUL."""
    return _checked_text("an actor's name", name, NAME_LIMIT)


def checked_reminder_name(name: object) -> str:
    """The name of a reminder."""
    return _checked_text("a reminder's name", name, REMINDER_NAME_LIMIT)


def _checked_text(what: str, text: object, limit: int) -> str:
    if isinstance(text, str) and text and "\0" not in text:
        try:
            if len(text.encode()) <= limit:
                return text
        except UnicodeEncodeError:
            pass
    raise InvalidOption(f"{what} is text of 1 to {limit} bytes without NUL: {text!r:.80}")


def _checked_times(
    delay: object, at: object, every: object
) -> tuple[float | None, float | None, float | None]:
    if delay is None and at is None and every is None:
        raise InvalidOption("a reminder needs delay=, at= or every=")
    if delay is not None and at is not None:
        raise InvalidOption("give delay= or at=, not both")
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise InvalidOption(f"at must be seconds since the epoch or a datetime with a time zone: {at!r}")
        at = at.timestamp()
    if at is not None and not (is_number(at) and 0 <= at < float("inf")):
        raise InvalidOption(f"at must be seconds since the epoch or a datetime with a time zone: {at!r:.80}")
    return (
        check_seconds("delay", delay, optional=True),
        None if at is None else float(at),
        check_seconds("every", every, least=EVERY_LEAST, optional=True),
    )

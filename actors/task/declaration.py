"""The `@task` decorator, the `Task` that it makes, and the registry of this process's tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)
from uuid import UUID

from ..checks import check_names
from ..errors import InvalidOption, InvalidTask
from ..qualified_names import note_program
from . import parameters
from .annotations import NONE, Annotations
from .code import (
    check_limit_by,
    check_no_generator,
    check_no_method,
    check_unique,
    default_name,
    globals_of,
    has_async_methods,
    refusal_of,
    source_of,
)
from .handles import TaskInfo
from .launch import Launch, OnEnded, checked_launch, utf8_length
from .metadata import checked as checked_metadata
from .options import LIMITS, NAMES, UNIQUE, Options

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .call import Call

P = ParamSpec("P")
R = TypeVar("R")

#: Characters a task name may have.
NAME_LIMIT: Final = 255

registry: dict[str, Task[..., Any]] = {}
"""Every task this process has declared, by name."""
_former: dict[str, Task[..., Any]] = {}
"""The same tasks by their former names."""


class Task(Generic[P, R]):
    """A function with its options. Calling it runs it in this process, as plain Python. That of an actor class is made
    by the class itself (`refs/actor.py`).

    `P` are its parameters and `R` is its result.
    """

    def __init__(
        self,
        body: Callable[P, Any] | None,
        name: str,
        options: Options,
        *,
        changes: frozenset[str] = frozenset(),
        launch: Launch | None = None,
        refusal: str | None = None,
        aliases: tuple[str, ...] = (),
    ) -> None:
        self.body = body
        #: Former names: tasks stored under them run as this one.
        self.aliases = aliases
        #: Patterns of the events that it handles; see `events/handler.py`.
        self.patterns: tuple[str, ...] = ()
        #: The schedules that it declares: (key, definition) each; see `schedules/declaration.py`.
        self.schedules: tuple[Any, ...] = ()
        #: The HTTP requests that it handles; see `http/declaration.py`.
        self.triggers: tuple[Any, ...] = ()
        self.name = name
        self.options_in_force = options
        #: Options set by `.options()`. A start sends only these; the app's declaration holds the rest.
        self.changes = changes
        self.launch = launch or Launch()
        #: Why it cannot be started, or None. The declaration finds the reason, `start` raises it.
        self.refusal = refusal
        self.is_class = inspect.isclass(body)
        self.is_async = (
            has_async_methods(body) if inspect.isclass(body) else inspect.iscoroutinefunction(body)
        )
        #: Its annotations once they were looked up. The copies made by `.options()` share the list.
        self._annotations: list[Annotations] = []
        if body is not None:
            functools.update_wrapper(cast("Any", self), body, updated=())

    @classmethod
    def named(cls, name: str) -> Task[..., Any]:
        """A task known by name only, to be started on a supervisor whose app declares it."""
        _check_name(name)
        return cast("Task[..., Any]", declared_as(name) or cls(None, name, Options()))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.body is None:
            raise InvalidTask(
                f"{self.name} is known here only by name and cannot be called; start it instead"
            )
        value: R = self.body(*args, **kwargs)
        return value

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # The receiving process looks up the declaration. The changes by `.options()` are pickled.
        return _revive, (self.name, self._packed_options(), self.launch)

    def options(
        self,
        *,
        key: str | None = None,
        delay: float | None = None,
        at: float | datetime | None = None,
        stream_id: str | UUID | None = None,
        on_ended: OnEnded = "return",
        metadata: Mapping[str, str] | None = None,
        limit_key: str | None = None,
        unique_key: str | None = None,
        link: bool | None = None,
        **changes: Any,
    ) -> Self:
        """A copy with other options: any of `@task`'s, and for starts `key`, `on_ended`, `delay`, `at`, `stream_id`,
        `metadata`, `limit_key`, `unique_key` and `link`. With `link`, the task is cancelled when the one that starts it
        has ended.

        Options from earlier calls of `.options()` stay, and so do entries of `metadata` with other keys. A `name`
        makes it a separate task, which must be declared in a module that workers import, like any other.
        """
        name = changes.pop("name", None)
        check_names(
            changes,
            NAMES,
            "a task",
            ", and those of a start key, on_ended, delay, at, stream_id, metadata, limit_key, unique_key, link",
        )
        self._check_limits(name, changes, limit_key)
        self._check_unique(changes, unique_key)
        given = checked_launch(key, delay, at, stream_id, on_ended, metadata, limit_key, unique_key, link)
        copy = self._changed(
            self.options_in_force.changed(changes), frozenset(changes), self.launch.then(given)
        )
        if metadata is not None:
            checked_metadata(copy.launch.metadata)  # the sum of several calls
        if name is not None and name != self.name:
            _check_name(name)
            copy.name = name
            copy.aliases = ()
            copy.patterns = ()
            copy.schedules = ()
            copy.triggers = ()
            if self.body is not None and self.refusal is None and name not in registry:
                registry[name] = copy
        return copy

    def _check_limits(self, name: str | None, changes: dict[str, Any], limit_key: object) -> None:
        if name is None:
            for option in LIMITS:
                if option in changes:
                    raise InvalidOption(
                        f"{option}= holds for all starts of a task, so it is declared: give it to @task, or name= as "
                        "well. Runtime.set_limit changes the numbers of a limit"
                    )
        elif self.body is not None:
            check_limit_by(self.body, self.options_in_force.changed(changes))
        known = self.body is not None and not self.options_in_force.changed(changes).limit_of(self.name)
        if limit_key is not None and known:
            raise InvalidOption(f"limit_key= is for a task with a limit, and {self.name} has none")

    def _check_unique(self, changes: dict[str, Any], unique_key: object) -> None:
        if self.body is None or (unique_key is None and not any(option in changes for option in UNIQUE)):
            return
        options = self.options_in_force.changed(changes)
        check_unique(self.body, options)
        if unique_key is not None and options.unique is False:
            raise InvalidOption(
                f"unique_key= is for a unique task, and {self.name} is none: give unique=, too"
            )

    def _changed(self, options: Options, changes: frozenset[str], launch: Launch) -> Self:
        copy = type(self).__new__(type(self))
        # __init__ would inspect the function again, and programs often make a copy for each start.
        copy.__dict__.update(self.__dict__)
        copy.options_in_force = options
        copy.changes = self.changes | changes
        copy.launch = launch
        return copy

    def start(self, *args: P.args, **kwargs: P.kwargs) -> TaskInfo[R]:
        """Start it on the ambient runtime: a task's own supervisor, or the enclosing `with Runtime`."""
        from .current_runtime import runtime

        return runtime().start(self, *args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """A call with these arguments and the options of this copy, for `Runtime.start_many`.

        The arguments are checked and encoded when it is started, not here.
        """
        from .call import Call

        return Call(self, args, kwargs)

    def check_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check that it can run: InvalidTask for the task itself, TypeError for its arguments."""
        if self.refusal is not None:
            raise InvalidTask(self.refusal)
        if self.body is None:
            return
        least, most = self._positional
        if not kwargs and least <= len(args) <= most:
            return
        if self._signature is None:
            return
        parameters.check(self.name, self._signature, args, kwargs)

    def is_of_same_code(self, other: Task[..., Any]) -> bool:
        """Whether both are declared at the same place: a module may be loaded as `__main__` and by name."""
        return (
            self.body is not None and other.body is not None and source_of(self.body) == source_of(other.body)
        )

    @property
    def annotations(self) -> Annotations:
        """The types of its arguments and of its result, looked up at the first use: they may be defined late."""
        if not self._annotations:
            result = getattr(self.body, "on_stop", None) if self.is_class else self.body
            found = NONE if self.body is None else Annotations.of(self.body, self._signature, result)
            self._annotations.append(found)
        return self._annotations[0]

    def declared(self) -> dict[str, Any]:
        """Its options, its parameters and whether it is async, as plain data for the supervisor."""
        rows = None if self.body is None else parameters.pack(self._signature)
        declared = {**self.options_in_force.pack(), "is_async": self.is_async, "parameters": rows}
        if self.aliases:
            declared["aliases"] = list(self.aliases)
        if self.patterns:
            declared["patterns"] = list(self.patterns)
        if self.schedules:
            declared["schedules"] = [(key, definition.pack()) for key, definition in self.schedules]
        if self.triggers:
            declared["triggers"] = [trigger.pack() for trigger in self.triggers]
        return declared

    def packed_changes(self) -> dict[str, Any] | None:
        """The options set by `.options()` and the metadata, as in a START row; None for none.

        InvalidOption for options of code only.
        """
        packed, extras = self._packed_options(), self.launch.extras()
        return {**(packed or {}), **extras} if extras else packed

    def _packed_options(self) -> dict[str, Any] | None:
        if "retry" in self.changes and self.options_in_force.retry.has_predicates:
            raise InvalidOption(
                "a retry policy with a function cannot be stored with one start; declare it, in @task(retry=…) or in "
                ".options(name=…, retry=…) at the top of a module"
            )
        return self.options_in_force.pack(set(self.changes)) if self.changes else None

    @functools.cached_property
    def _signature(self) -> inspect.Signature | None:
        """None if Python knows none, as for some functions written in C."""
        assert self.body is not None
        try:
            return inspect.signature(self.body)
        except (ValueError, TypeError):
            return None

    @functools.cached_property
    def _positional(self) -> tuple[int, int]:
        """The least and the most arguments of a call without keywords; (1, 0) if no such call is valid."""
        return parameters.positional(self._signature)

    @property
    def positional_names(self) -> tuple[str, ...]:
        """The names of the parameters that may be passed by place, in their order."""
        return () if self.body is None else parameters.positional_names(self._signature)


if TYPE_CHECKING:
    # What type checkers are told of a declaration. At run time each of them makes a plain Task.

    class AsyncTask(Task[P, R]):
        """The task of an `async def` function: a plain call gives a coroutine, a start its result."""

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]

    class _Decorator(Protocol):
        @overload
        def __call__(self, body: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
        @overload
        def __call__(self, body: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(body: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def task(body: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, name: str | None = None, aliases: Iterable[str] = (), **options: Any) -> _Decorator: ...
def task(
    body: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    aliases: Iterable[str] = (),
    **options: Any,
) -> Any:
    """Declare a task: `@task`, or `@task(name=…)` with any of timeout, retry, grace, priority, isolate,
    main_thread, memory_limit, capture_output, keep, ack, concurrency, rate, limit, limit_by, unique, unique_by and
    on_conflict. `aliases` are its former names: tasks stored under them run as this one.

    Works on functions and `async def` functions. A class is refused: derive it from `Actor`. The default name is
    `module:qualname`. Raises InvalidOption for an unknown option or a value out of range.
    """
    checked = Options().changed(options)
    former = _checked_aliases(aliases)
    if body is None:
        return lambda function: _declare(function, name, checked, former)
    return _declare(body, name, checked, former)


def declared_as(name: str) -> Task[..., Any] | None:
    """The task that this process has declared under this name, or that had it formerly; None for none."""
    return registry.get(name) or _former.get(name)


def _checked_aliases(aliases: Iterable[str]) -> tuple[str, ...]:
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise InvalidOption(f"aliases must be a list of former names of the task: {aliases!r:.80}")
    former = tuple(dict.fromkeys(aliases))
    for alias in former:
        _check_name(alias)
    return former


def _declare(
    body: Callable[..., Any], name: str | None, options: Options, aliases: tuple[str, ...] = ()
) -> Task[..., Any]:
    if isinstance(body, Task):
        raise InvalidTask(f"{body.name} is a task already")
    if inspect.isclass(body):
        raise InvalidTask(
            f"{body.__qualname__} is a class, and @task goes on functions: derive it from understudy.Actor, as "
            f"`class {body.__name__}(Actor):`, and start it with Runtime.actor"
        )
    if not callable(body) or not hasattr(body, "__qualname__"):
        raise InvalidTask(f"@task goes on a function, not on {body!r}")
    check_no_generator(body)
    check_no_method(body)
    return declare(body, name, options, aliases)


def declare(
    body: Callable[..., Any],
    name: str | None,
    options: Options,
    aliases: Iterable[str],
    *,
    kind: type[Task[..., Any]] = Task,
    name_bytes: int = 4 * NAME_LIMIT,
) -> Task[..., Any]:
    """Enter a function or an actor class into the registry, under its name and its former names.

    InvalidTask if another one has one of these names.
    """
    former = _checked_aliases(aliases)
    check_limit_by(body, options)
    check_unique(body, options)
    note_program(globals_of(body))
    declared = kind(
        body,
        default_name(body) if name is None else name,
        options,
        refusal=refusal_of(body, name),
        aliases=former,
    )
    for each in (declared.name, *former):
        _check_name(each)
        if utf8_length(each) > name_bytes:
            raise InvalidOption(f"this name may have at most {name_bytes} bytes: {each!r}")
    if declared.refusal is None:
        present = registry.get(declared.name)
        if present is not None and present.body is not None and source_of(present.body) != source_of(body):
            raise InvalidTask(
                f"two tasks have the name {declared.name}: {present.body.__qualname__} in {source_of(present.body)[0]} "
                f"and {body.__qualname__} in {source_of(body)[0]}; give one of them another name"
            )
        for alias in (declared.name, *former):
            _check_alias(declared, alias)
        registry[declared.name] = declared
        _former.update(dict.fromkeys(former, declared))
    return declared


def _check_alias(declared: Task[..., Any], alias: str) -> None:
    """InvalidTask if tasks of this name run as another task."""
    other = declared_as(alias)
    if other is not None and other.name != declared.name:
        raise InvalidTask(f"{declared.name} cannot be {alias}, too: tasks of that name run as {other.name}")


def _revive(name: str, changes: dict[str, Any] | None, launch: Launch) -> Task[..., Any]:
    """The unpickled task; the inverse of `Task.__reduce__`."""
    declared = Task.named(name)
    if changes is None and launch == Launch():
        return declared
    options = declared.options_in_force
    options = options if changes is None else Options.unpack(changes, options)
    return declared._changed(options, frozenset(changes or ()), launch)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise InvalidOption(f"a task name is 1 to {NAME_LIMIT} printable characters: {name!r:.80}")

"""Declaring tasks: the `@task` decorator, what it makes, and the registry of what this process has declared."""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast, overload

from .errors import InvalidOption, InvalidTask
from .options import Options

if TYPE_CHECKING:
    from datetime import datetime

    from .info import TaskInfo

P = ParamSpec("P")
R = TypeVar("R")

#: Characters a task name may have.
NAME_LIMIT: Final = 255
#: Bytes an idempotency key may have, as UTF-8.
KEY_LIMIT: Final = 1024
#: The longest delay, in seconds: ten years.
DELAY_LIMIT: Final = 10 * 366 * 24 * 3600.0

registry: dict[str, Task[..., Any]] = {}
"""Every task this process has declared, by name."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What one start may add to the task's own options."""

    key: str | None = None
    """Idempotency key: a second start with the same key gives the first one's task."""
    delay: float | None = None
    """Seconds before the first attempt may begin."""
    at: float | None = None
    """Earliest time of the first attempt, in seconds since the epoch."""
    stream_id: str | None = None
    """Correlation id; by default the starter's own, else a new one."""

    def due(self, now: float) -> float | None:
        """The earliest start as a time since the epoch, or None for at once."""
        return now + self.delay if self.delay is not None else self.at


class Task(Generic[P, R]):
    """A function (or actor class) with the options it runs under. Calling it runs it right here, as plain Python."""

    def __init__(
        self,
        body: Callable[P, R] | None,
        name: str,
        options: Options,
        *,
        changes: frozenset[str] = frozenset(),
        launch: Launch | None = None,
        refusal: str | None = None,
    ) -> None:
        self.body = body
        self.name = name
        self.options_in_force = options
        #: Options set by `.options()`; only they travel with a start, the rest is the app's own declaration.
        self.changes = changes
        self.launch = launch or Launch()
        #: Why this one cannot be started, if so: found at the declaration, said at `start`.
        self.refusal = refusal
        self.is_class = inspect.isclass(body)
        target = getattr(body, "on_receive", None) if self.is_class else body
        self.is_async = inspect.iscoroutinefunction(target)
        #: How many runs in a row took next to no time, counted by the worker that runs them.
        self.quick = 0
        if body is not None:
            functools.update_wrapper(cast("Any", self), body, updated=())

    @classmethod
    def named(cls, name: str) -> Task[..., Any]:
        """A task known by name only, to be started on a supervisor whose app declares it."""
        _check_name(name)
        return cast("Task[..., Any]", registry.get(name) or cls(None, name, Options()))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.body is None:
            raise InvalidTask(f"{self.name} is known here by name only and cannot be called; start it instead")
        return self.body(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Task.named, (self.name,)

    def options(
        self,
        *,
        key: str | None = None,
        delay: float | None = None,
        at: float | datetime | None = None,
        stream_id: str | None = None,
        **changes: Any,
    ) -> Task[P, R]:
        """A copy with other options: any of `@task`'s, plus `key`, `delay`, `at` and `stream_id` for its starts."""
        name = changes.pop("name", None)
        copy = Task(
            self.body,
            self.name if name is None else name,
            self.options_in_force.changed(changes),
            changes=self.changes | frozenset(changes),
            launch=_launch(key, delay, at, stream_id),
            refusal=self.refusal,
        )
        _check_name(copy.name)
        return copy

    def start(self, *args: P.args, **kwargs: P.kwargs) -> TaskInfo:
        """Start it on the ambient runtime: inside a task that task's supervisor, else the enclosing `with Runtime`."""
        from .ambient import runtime

        return runtime().start(self, *args, **kwargs)

    def check_start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse at the door what cannot run: InvalidTask for the task itself, TypeError for its arguments."""
        if self.refusal is not None:
            raise InvalidTask(self.refusal)
        if self.body is None:
            return
        least, most = self._positional
        if not kwargs and least <= len(args) <= most:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._signature}: {error}") from None

    def declared(self) -> dict[str, Any]:
        """What the supervisor has to know of it, as plain data: its options and whether it is async."""
        return {**self.options_in_force.pack(), "is_async": self.is_async}

    def packed_changes(self) -> dict[str, Any] | None:
        """The options set by `.options()`, as plain data; None for none."""
        return self.options_in_force.pack(set(self.changes)) if self.changes else None

    @functools.cached_property
    def _signature(self) -> inspect.Signature:
        assert self.body is not None
        return inspect.signature(self.body)

    @functools.cached_property
    def _positional(self) -> tuple[int, int]:
        """How few and how many positional arguments alone make a valid call; (1, 0) if none do."""
        kinds = inspect.Parameter
        positional = [
            parameter
            for parameter in self._signature.parameters.values()
            if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
        ]
        rest = [p for p in self._signature.parameters.values() if p not in positional]
        if any(p.kind == kinds.KEYWORD_ONLY and p.default is kinds.empty for p in rest):
            return 1, 0
        least = sum(p.default is kinds.empty for p in positional)
        return least, sys.maxsize if any(p.kind == kinds.VAR_POSITIONAL for p in rest) else len(positional)


@overload
def task(body: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *, name: str | None = None, **options: Any
) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(body: Callable[..., Any] | None = None, /, *, name: str | None = None, **options: Any) -> Any:
    """Declare a task: `@task` or `@task(name=, timeout=, retry=, grace=, priority=, isolate=, memory_limit=, keep=, ack=)`.

    Works on functions, `async def` functions and actor classes (a class with `on_receive(message)`, and if it likes
    `on_start()` and `on_stop()`, whose return value is the task's result). The default name is `module:qualname`.
    Raises InvalidOption for an option it does not know or a value out of range.
    """
    checked = Options().changed(options)
    if body is None:
        return lambda function: _declare(function, name, checked)
    return _declare(body, name, checked)


def _declare(body: Callable[..., Any], name: str | None, options: Options) -> Task[..., Any]:
    if isinstance(body, Task):
        raise InvalidTask(f"{body.name} is a task already")
    if not callable(body) or not hasattr(body, "__qualname__"):
        raise InvalidTask(f"@task goes on a function or a class, not on {body!r}")
    if inspect.isgeneratorfunction(body) or inspect.isasyncgenfunction(body):
        raise InvalidTask(f"{body.__qualname__} is a generator: a task returns one value (send messages for more)")
    if inspect.isclass(body) and not callable(getattr(body, "on_receive", None)):
        raise InvalidTask(f"class {body.__qualname__} needs a method on_receive(self, message) to be a task")
    declared = Task(body, name or default_name(body), options, refusal=None if name else _refusal(body))
    if "<locals>" in body.__qualname__:
        declared.refusal = _refusal(body)
    _check_name(declared.name)
    if declared.refusal is None:
        registry[declared.name] = declared
    return declared


def module_name(module: str) -> str:
    """A module's name as every process of the app knows it: a script stays `__main__`, `python -m x` is `x`."""
    if module == "__mp_main__":
        return "__main__"
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if spec is not None:
            name: str = spec.name
            return name
    return module


def default_name(body: Callable[..., Any]) -> str:
    """`module:qualname`."""
    return f"{module_name(body.__module__)}:{body.__qualname__}"


def _refusal(body: Callable[..., Any]) -> str | None:
    if "<lambda>" in body.__qualname__:
        return "a lambda cannot be started: workers find tasks by name. Write a function at the top of a module"
    if "<locals>" in body.__qualname__:
        return (
            f"{body.__qualname__} is defined inside a function, where workers cannot find it. "
            "Move it to the top of a module"
        )
    main = sys.modules.get("__main__")
    if (
        body.__module__ == "__main__"
        and getattr(main, "__spec__", None) is None
        and not getattr(main, "__file__", None)
    ):
        return f"{body.__qualname__} is defined in a REPL, which workers cannot import. Put it into a file"
    return None


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise InvalidOption(f"a task name is 1 to {NAME_LIMIT} printable characters: {name!r:.80}")


def _launch(key: str | None, delay: float | None, at: float | datetime | None, stream_id: str | None) -> Launch:
    from .ids import id_bytes

    if key is not None and (not isinstance(key, str) or not 0 < len(key.encode("utf-8", "replace")) <= KEY_LIMIT):
        raise InvalidOption(f"key must be text of 1 to {KEY_LIMIT:,} bytes: {key!r:.80}")
    if delay is not None and at is not None:
        raise InvalidOption("give delay= or at=, not both")
    if delay is not None and (isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= DELAY_LIMIT):
        raise InvalidOption(f"delay must be seconds from 0 to ten years: {delay!r}")
    if at is not None and not isinstance(at, int | float):
        if getattr(at, "tzinfo", None) is None:
            raise InvalidOption(f"at must be seconds since the epoch or a datetime with a time zone: {at!r}")
        at = at.timestamp()
    if at is not None and not 0 <= at <= time.time() + DELAY_LIMIT:
        raise InvalidOption(f"at must be a time before ten years from now: {at!r}")
    if stream_id is not None:
        id_bytes(stream_id)
    return Launch(key, None if delay is None else float(delay), None if at is None else float(at), stream_id)


__all__ = ["Launch", "Task", "default_name", "module_name", "registry", "task"]

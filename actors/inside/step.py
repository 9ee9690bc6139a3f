"""`step`: a call whose value is kept, so that later attempts at the task need not make it again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

from ..attempt.actor import TaskActor, actor_here
from ..attempt.async_actor import AsyncTaskActor
from ..attempt.steps import StepCall
from ..errors import InvalidOption, NotInTask
from ..qualified_names import module_name
from ..shapes import Shape
from ..step_label import checked_name, key_label
from ..task.annotations import result_of
from ..task.declaration import Task
from ..task.retry import Retry

P = ParamSpec("P")
T = TypeVar("T")

#: The shapes of what functions return, so that a known step does not look them up again.
_shapes: Final[WeakKeyDictionary[Any, list[Shape | None]]] = WeakKeyDictionary()


class StepOptions:
    """The options of steps, which `step` and `aio.step` share."""

    __slots__ = ("_key", "_name", "_retry")

    def __init__(self, name: str | None = None, key: str | None = None, retry: Retry | None = None) -> None:
        self._name = name
        self._key = key
        self._retry = retry

    def options(
        self, *, name: str | None = None, key: str | None = None, retry: Retry | int | None = None
    ) -> Self:
        """The same with other options; those of earlier calls stay.

        `name` stands in place of the function's name. `key` is by what the step is known, whatever its name and
        however often it was called. `retry` tries the function again within this attempt.
        """
        if name is not None:
            checked_name(name)
        if key is not None:
            key_label(key)
        policy = self._retry if retry is None else Retry.of(retry)
        return type(self)(name or self._name, key or self._key, policy)

    def _call(self, actor: TaskActor, function: Callable[..., Any]) -> StepCall:
        name = self._name or _name_of(function, has_key=self._key is not None)
        return StepCall(actor, name, self._key, self._retry, _shape_of(function))


class Step(StepOptions):
    """The class of `step`."""

    __slots__ = ()

    def __call__(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function once in the life of this task: its value is on disk when this returns.

        In a later attempt at the task the same step gives that value, and the function is not called. A step is known
        by the name of its function and which call of that name it is, or by its `key`. Errors are not kept. The value
        comes back as plain data, as from a checkpoint, or as the type that the function is annotated with.

        Raises NestedStep inside another step, UnencodableValue, ValueTooLarge, StepsFull.
        """
        actor = actor_here("step")
        if isinstance(actor, AsyncTaskActor):
            raise NotInTask("step would block the event loop of an async task: use `await aio.step(…)`")
        value: T = actor.do_step(self._call(actor, fn), functools.partial(_plain, fn, *args, **kwargs))
        return value


def _plain(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    if is_async(fn):
        raise InvalidOption(
            f"{fn!r:.80} is a coroutine function: use it in an async task, by `await aio.step(…)`"
        )
    return fn(*args, **kwargs)


def is_async(fn: Callable[..., Any]) -> bool:
    """Whether a call gives a coroutine."""
    if isinstance(fn, Task):
        return fn.is_async
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _name_of(fn: Any, *, has_key: bool) -> str:
    """The name of a function: "module:qualname"."""
    if isinstance(fn, Task):
        return fn.name
    owner = getattr(fn, "__self__", None)
    if isinstance(owner, Task):
        return f"{owner.name}.{fn.__name__}"
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if name is None or (not has_key and name.endswith("<lambda>")):
        if has_key:
            return type(fn).__qualname__
        raise InvalidOption(
            f"{fn!r:.80} has no name by which a later attempt would know the step: use step.options(name=…) or "
            "step.options(key=…)"
        )
    return f"{module_name(module)}:{name}" if module else str(name)


def _shape_of(fn: Any) -> Shape | None:
    """The shape of what a function returns."""
    fn = getattr(fn, "__func__", fn)  # a bound method is made anew by each look
    try:
        return _shapes[fn][0]
    except (KeyError, TypeError):
        pass
    shape = fn.annotations.result if isinstance(fn, Task) else result_of(_function_of(fn))
    try:
        _shapes[fn] = [shape]
    except TypeError:
        pass  # it cannot be in a dictionary
    return shape


def _function_of(fn: Any) -> Any:
    """The function with the annotations; None for what has none."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    function = inspect.unwrap(fn)
    return function if inspect.isfunction(function) else None


step: Final = Step()
"""Call a function once in the life of this task; see `Step.__call__`."""

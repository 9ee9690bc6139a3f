"""The annotations of a task: which of its arguments, messages and results are more than plain data."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, Final

from ..errors import UnencodableValue
from ..shape_compiler import resolved, shape_of
from ..shapes import Shape, lift, lower

Arguments = tuple[Any, ...] | list[Any]


class Annotations:
    """The shapes of a task's parameters and of its result. A task with plain ones costs nothing: see `typed`."""

    def __init__(
        self,
        positional: list[Shape | None],
        by_name: dict[str, Shape | None],
        result: Shape | None,
    ) -> None:
        #: Parameters that take positional arguments, in order. The last one takes all others.
        self._positional = positional
        #: Parameters by name; "**" stands for all others.
        self._by_name = by_name
        #: Of the task's result; None if that is plain data.
        self.result = result
        #: Whether an argument may be more than plain data.
        self.typed = any(by_name.values()) or any(positional)

    @classmethod
    def of(cls, body: Callable[..., Any], signature: inspect.Signature | None, result: Any) -> Annotations:
        """Those of a function or class; `result` is the function whose return value is the task's result."""
        if signature is None:
            return NONE
        kinds = inspect.Parameter
        parameters = [p for p in signature.parameters.values() if p.annotation is not kinds.empty]
        shapes = {
            name: shape_of(hint)
            for name, hint in resolved({p.name: p.annotation for p in parameters}, _namespace(body)).items()
        }
        positional: list[Shape | None] = []
        by_name: dict[str, Shape | None] = {}
        for parameter in signature.parameters.values():
            shape = shapes.get(parameter.name)
            if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD, kinds.VAR_POSITIONAL):
                positional.append(shape)
            if parameter.kind is not kinds.VAR_POSITIONAL:
                by_name["**" if parameter.kind is kinds.VAR_KEYWORD else parameter.name] = shape
        return cls(positional, by_name, result_of(result))

    def lower(self, args: Arguments, kwargs: dict[str, Any]) -> tuple[Arguments, dict[str, Any]]:
        """The arguments as plain data. Raises UnencodableValue."""
        try:
            return self._changed(args, kwargs, lower)
        except RecursionError as error:
            raise UnencodableValue("an argument contains itself, or is nested too deep", "args") from error

    def lift(self, args: Arguments, kwargs: dict[str, Any]) -> tuple[Arguments, dict[str, Any]]:
        """The inverse of `lower`. Raises InvalidValue."""
        return self._changed(args, kwargs, lift)

    def _changed(
        self, args: Arguments, kwargs: dict[str, Any], change: Callable[[Shape | None, Any, str], Any]
    ) -> tuple[Arguments, dict[str, Any]]:
        last = len(self._positional) - 1
        rest = self._by_name.get("**")
        return (
            [
                change(self._positional[min(number, last)], value, f"args[{number}]") if last >= 0 else value
                for number, value in enumerate(args)
            ],
            {
                name: change(self._by_name.get(name, rest), value, f"kwargs[{name!r}]")
                for name, value in kwargs.items()
            },
        )


def _namespace(body: Any) -> dict[str, Any]:
    """Where the names in its annotations are looked up."""
    function = inspect.unwrap(body)
    function = getattr(function, "__func__", function)
    namespace: dict[str, Any] | None = getattr(function, "__globals__", None)
    return vars(sys.modules[function.__module__]) if namespace is None else namespace


def result_of(function: Any) -> Shape | None:
    """The shape of what a function returns; None if that is plain data, or not annotated."""
    annotation = getattr(inspect.unwrap(function), "__annotations__", {}).get("return") if function else None
    if annotation is None:
        return None
    return shape_of(resolved({"return": annotation}, _namespace(function))["return"])


NONE: Final = Annotations([], {}, None)
"""Those of a task that is known by name only."""

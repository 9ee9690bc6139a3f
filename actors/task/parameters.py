"""A task's parameters as plain data: the supervisor and clients refuse a start with wrong arguments."""

from __future__ import annotations

import inspect
import sys
from typing import Any, Final

Row = tuple[str, int, bool]
"""Name, kind as a number of `inspect`, and whether it has a default."""


class _Given:
    def __repr__(self) -> str:
        return "…"


#: Stands for a default, which need not be plain data.
_DEFAULT: Final = _Given()


def pack(signature: inspect.Signature | None) -> list[Row] | None:
    """The parameters in their order; None if Python knows none, as for some functions written in C."""
    if signature is None:
        return None
    return [
        (parameter.name, int(parameter.kind), parameter.default is not parameter.empty)
        for parameter in signature.parameters.values()
    ]


def unpack(rows: Any) -> inspect.Signature:
    """The inverse of `pack`, with `…` for each default and without annotations."""
    kinds = {int(kind): kind for kind in inspect._ParameterKind}
    return inspect.Signature(
        [
            inspect.Parameter(name, kinds[kind], default=_DEFAULT if optional else inspect.Parameter.empty)
            for name, kind, optional in rows
        ]
    )


def check(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """TypeError if a task of this name and signature cannot be called with these arguments."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}{signature}: {error}") from None


def names(body: Any) -> tuple[str, ...] | None:
    """The names of a function's parameters that hold one value each; None if Python knows none."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        found = inspect.signature(body).parameters.values()
    except (ValueError, TypeError):
        return None
    return tuple(parameter.name for parameter in found if parameter.kind not in kinds)


def positional_names(signature: inspect.Signature | None) -> tuple[str, ...]:
    """The names of the parameters that may be passed by place, in their order."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = () if signature is None else signature.parameters.values()
    return tuple(parameter.name for parameter in found if parameter.kind in kinds)


def positional(signature: inspect.Signature | None) -> tuple[int, int]:
    """The least and the most arguments of a call without keywords; (1, 0) if no such call is valid."""
    if signature is None:
        return 0, sys.maxsize
    kinds = inspect.Parameter
    takes = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
    rest = [p for p in signature.parameters.values() if p not in takes]
    if any(p.kind == kinds.KEYWORD_ONLY and p.default is kinds.empty for p in rest):
        return 1, 0
    least = sum(p.default is kinds.empty for p in takes)
    return least, sys.maxsize if any(p.kind == kinds.VAR_POSITIONAL for p in rest) else len(takes)

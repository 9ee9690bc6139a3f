"""Conditions on the data of events: the `where=` of `listen`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import InvalidOption

#: Fields that one condition may compare, and characters of a path or of a text that it compares with.
FIELDS_LIMIT: Final = 16
TEXT_LIMIT: Final = 1_000

Condition = tuple[tuple[str, Any], ...]
"""Paths into the data, as "customer.id", each with the value that must be there; sorted."""

_MISSING: Final = object()


def check_where(where: Mapping[str, Any] | None) -> Condition:
    """The condition that these fields make; InvalidOption names one that cannot be compared."""
    if where is None:
        return ()
    if not isinstance(where, Mapping) or len(where) > FIELDS_LIMIT:
        raise InvalidOption(
            f"where is a mapping of at most {FIELDS_LIMIT} fields to their values: {where!r:.80}"
        )
    for path, value in where.items():
        if not isinstance(path, str) or not all(path.split(".")) or len(path) > TEXT_LIMIT:
            raise InvalidOption(f"a field of where is a path of names with dots between them: {path!r:.80}")
        if value is not None and type(value) not in (bool, int, float, str):
            raise InvalidOption(
                f"where[{path!r}] compares with text, a number, a bool or None, not with {value!r:.80}"
            )
        if isinstance(value, str) and len(value) > TEXT_LIMIT:
            raise InvalidOption(f"where[{path!r}] compares with at most {TEXT_LIMIT:,} characters")
    return tuple(sorted(where.items()))


def holds(condition: Condition, data: Any) -> bool:
    """Whether every path of the condition leads to its value in the data."""
    return all(_equal(_find(data, path), value) for path, value in condition)


def _find(data: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(data, dict) or name not in data:
            return _MISSING
        data = data[name]
    return data


def _equal(found: Any, wanted: Any) -> bool:
    """Equal as in Python, but True is not 1."""
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)

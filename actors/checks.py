"""Checks of options. A bool is an int for Python; it is no number here."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import Any, TypeGuard

from .errors import InvalidOption


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether this is an int or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether this is an int."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_seconds(
    name: str,
    value: object,
    most: float = sys.float_info.max,
    *,
    least: float = 0,
    positive: bool = False,
    optional: bool = False,
) -> Any:
    """The seconds as a float, or None if `optional`; InvalidOption for anything else."""
    if value is None and optional:
        return None
    if not is_number(value) or not least <= value <= most or (positive and value == 0):
        from_on = "more than 0" if positive else f"{least:g} or more"
        bound = "" if most == sys.float_info.max else f", at most {most:,.0f}"
        raise InvalidOption(
            f"{name} must be seconds, {from_on}{bound}{', or None' if optional else ''}: {value!r:.80}"
        )
    return float(value)


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise InvalidOption unless the value is a whole number in this range."""
    if not is_whole(value) or value < least or (most is not None and value > most):
        bounds = f", at least {least:,}" if most is None else f" from {least:,} to {most:,}"
        raise InvalidOption(f"{name} must be a whole number{bounds}: {value!r:.80}")


def check_flag(name: str, value: object) -> None:
    """Raise InvalidOption unless the value is True or False."""
    if not isinstance(value, bool):
        raise InvalidOption(f"{name} must be True or False: {value!r:.80}")


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """Raise InvalidOption unless the value is one of these."""
    if value not in tuple(allowed):
        raise InvalidOption(f"{name} must be {' or '.join(map(repr, allowed))}: {value!r:.80}")


def check_names(given: Iterable[str], known: Collection[str], of: str, more: str = "") -> None:
    """Raise InvalidOption for a name that is not known."""
    for name in given:
        if name not in known:
            raise InvalidOption(
                f"unknown option {name!r:.80}; the options of {of} are {', '.join(known)}{more}"
            )

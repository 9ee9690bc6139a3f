"""Checks of numbers in options. A bool is an int for Python; it is no number here."""

from __future__ import annotations

from typing import TypeGuard


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether this is an int or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether this is an int."""
    return isinstance(value, int) and not isinstance(value, bool)

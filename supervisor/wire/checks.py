"""Checks of fields that any frame may hold."""

from __future__ import annotations

from typing import Any

from ...actors.errors import InvalidValue


def is_id(value: object) -> bool:
    """Whether this has the form of an id."""
    return isinstance(value, bytes) and len(value) == 16


def checked_id(value: Any) -> bytes:
    """The value, if it has the form of an id; else InvalidValue."""
    if not is_id(value):
        raise InvalidValue("an id must have 16 bytes")
    return bytes(value)

"""`Reminder`: a message that an actor will send to itself, as `self.reminders()` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .. import values
from .letter import Letter


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder that is set."""

    due: float
    """When it comes (next), in seconds since the epoch."""
    every: float | None
    """Its period in seconds; None if it comes once."""
    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, due: float, every: float | None, letter: bytes) -> Reminder:
        """That of a row."""
        told = Letter.unpack(letter)
        args, kwargs = ((), {}) if told.payload is None else values.unpack(told.payload)
        return cls(due, every, told.path or "on_receive", tuple(args), kwargs)

"""`StepInfo`: a step that a task keeps, as programs see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A step that a task has done and does not do again."""

    name: str
    """That of its function as "module:function", or the one that it was given."""
    call: int | None
    """Which call of this name it is, counted from 1; None for a step with a key."""
    key: str | None
    """The key by which it is known; None for none."""
    time: float
    """When it was kept, in seconds since the epoch."""
    size: int
    """Bytes of its encoded value."""
    value: Any = field(repr=False)
    """Plain data and registered types."""
    message_id: str | None = None
    """Of an actor, the message to which it belongs."""

    def as_dict(self) -> dict[str, Any]:
        """All fields but the value, as plain data."""
        fields = asdict(self)
        del fields["value"]
        return fields

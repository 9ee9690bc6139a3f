"""What a task holds open outside of its own code, and how it is put away when the task ends in whatever way."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from .host import Ending

if TYPE_CHECKING:
    from .host import Outcome

#: Seconds that what a task holds may take to go when the task has ended; then it is dropped.
CLOSE_WITHIN: Final = 2.0


class Closing(Enum):
    """Why a task lets go of what it holds."""

    DONE = "done"
    """Its code has come to its end."""
    FAILED = "failed"
    """Its code has raised."""
    AWAY = "away"
    """It was cancelled, has timed out or is interrupted; or it goes on in its next attempt."""


class OpenResource(Protocol):
    """It removes itself from its actor's `resources` once nothing is left of it, and wakes the actor."""

    def close_for(self, why: Closing) -> None:
        """Begin to go; returns at once."""

    def drop(self) -> None:
        """Go now, with no regard for the other side; returns at once."""


def closing_reason(outcome: Outcome, signal: str | None) -> Closing:
    """What an ending means for what the task holds; `signal` is the actor's."""
    if signal is not None or outcome.ending in (Ending.INTERRUPTED, Ending.RETRY_LATER):
        return Closing.AWAY
    return Closing.DONE if outcome.ending is Ending.VALUE else Closing.FAILED

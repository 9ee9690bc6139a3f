"""Resources that a task holds open (WebSocket connections), and why each is closed when the task ends."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from .host import Ending

if TYPE_CHECKING:
    from .host import Outcome

#: Seconds that the resources of an ended task may take to close; then they are dropped.
CLOSE_WITHIN: Final = 2.0


class Closing(Enum):
    """Why a resource is closed."""

    DONE = "done"
    """The task's code returned."""
    FAILED = "failed"
    """The task's code raised."""
    AWAY = "away"
    """The task was cancelled, timed out or was interrupted, or it raised RetryLater."""


class OpenResource(Protocol):
    """A task's resource. Once closed, it removes itself from its actor's `resources` and wakes the actor."""

    def close_for(self, why: Closing) -> None:
        """Begin to close; returns at once."""

    def drop(self) -> None:
        """Close now, without waiting for the peer; returns at once."""


def closing_reason(outcome: Outcome, signal: str | None) -> Closing:
    """Why the resources are closed after this outcome; `signal` is the actor's."""
    if signal is not None or outcome.ending in (Ending.INTERRUPTED, Ending.RETRY_LATER):
        return Closing.AWAY
    return Closing.DONE if outcome.ending is Ending.VALUE else Closing.FAILED

"""An attempt under way: everything about a task that holds only while a worker has it.

A live task has one attempt or none; "queued" means that it has none. The attempt is made when the task is handed out,
and ends when the task leaves the worker for any reason. Its timers end with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from ..channel.interface import WorkerChannel

if TYPE_CHECKING:
    from .live_actor import LiveActor


class Seat(Protocol):
    """The worker's place in the pool, as far as a task needs it."""

    channel: WorkerChannel
    alone: bool
    residents: set[LiveActor]


class Attempt:
    """One try at a task, on one worker."""

    __slots__ = (
        "begun",
        "building",
        "counted",
        "deadline",
        "handed_at",
        "kill",
        "logged",
        "parked",
        "seat",
        "seen",
        "signal",
    )

    def __init__(self, seat: Seat, handed_at: float) -> None:
        self.seat = seat
        #: The event loop's time at which the task was handed out.
        self.handed_at = handed_at
        #: Known to have begun; until then it may be taken back.
        self.begun = False
        #: Was seen to have begun, at the last look or by a report. It may have ended since; that report is on its way.
        self.seen = False
        #: Waits in `receive`, `sleep` and the like.
        self.parked = False
        #: Of an actor whose worker is dead: whether its object was being built.
        self.building = False
        #: Whether its begin is noted for the rate of a limit.
        self.counted = False
        #: Whether it has sent a line for the task's log.
        self.logged = False
        #: Why the task was asked to stop: "cancel" or "timeout".
        self.signal: str | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.kill: asyncio.TimerHandle | None = None

    @property
    def shown(self) -> bool:
        """Whether the store says that the task runs. Until then the store says that it is queued."""
        return self.begun or self.seen

    def end(self) -> None:
        """The task has left the worker: stop the timers."""
        if self.deadline is not None:
            self.deadline.cancel()
        if self.kill is not None:
            self.kill.cancel()


def due_of(timer: asyncio.TimerHandle | None) -> float | None:
    """The event loop's time at which a timer runs out."""
    return None if timer is None else timer.when()

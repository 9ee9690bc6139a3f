"""Deadline: when a call gives up. It is made where the call begins and handed down to everything that waits."""

from __future__ import annotations

from typing import Final

from ...actors.clock import SYSTEM, Clock
from ...actors.timeouts import check_timeout, deadline_of, left_of


class Deadline:
    """The limit of one call, from its `timeout=`."""

    __slots__ = ("at", "clock", "given", "late", "seconds")

    def __init__(self, timeout: object = None, name: str = "timeout", clock: Clock = SYSTEM) -> None:
        """None means that the caller has set no limit; infinity means that it waits for ever.

        Raises InvalidOption if `timeout` is no number.
        """
        self.clock = clock
        #: The limit in seconds; None for none.
        self.seconds: float | None = check_timeout(timeout, name)
        #: Whether the caller has set a limit. Else the call waits some seconds for a supervisor, and without a
        #: limit for its answer.
        self.given: bool = timeout is not None
        #: The limit as a time of the monotonic clock.
        self.at: float | None = deadline_of(self.seconds, clock)
        #: What to say when it is over; empty: that the call may or may not have taken effect.
        self.late = ""

    def left(self) -> float | None:
        """Seconds that are left, 0 or more; None for no limit."""
        left = left_of(self.at, self.clock)
        return None if left is None else max(left, 0.0)


NO_DEADLINE: Final = Deadline()
"""The deadline of a call without `timeout=`."""

"""The check of `timeout=` and of the seconds of a `sleep`, and the deadlines that follow from them."""

from __future__ import annotations

import threading

from .checks import is_number
from .clock import SYSTEM, Clock
from .errors import InvalidOption


def check_timeout(timeout: object, name: str = "timeout") -> float | None:
    """The longest wait of a call in seconds, or None for no limit. A negative number waits no longer than 0.

    InvalidOption if it is not a number. More seconds than the system's clocks can count become None.
    """
    if timeout is None:
        return None
    if is_number(timeout):
        if timeout <= threading.TIMEOUT_MAX:
            return timeout
        if timeout > threading.TIMEOUT_MAX:  # NaN fails both comparisons
            return None
    raise InvalidOption(f"{name} must be seconds, or None: {timeout!r:.80}")


def deadline_of(seconds: float | None, clock: Clock = SYSTEM) -> float | None:
    """The monotonic time this many seconds from now; None for never."""
    return None if seconds is None else clock.monotonic() + seconds


def left_of(deadline: float | None, clock: Clock = SYSTEM) -> float | None:
    """Seconds until the deadline; None for no limit."""
    return None if deadline is None else deadline - clock.monotonic()

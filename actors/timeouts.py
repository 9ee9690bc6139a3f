"""How long a call waits: the check of `timeout=`, and of the seconds of a `sleep`."""

from __future__ import annotations

import threading

from .errors import InvalidOption


def check_timeout(timeout: object, name: str = "timeout") -> float | None:
    """Seconds that a call waits at most, None for as long as it takes; nothing below 0 waits longer than 0.

    InvalidOption for what is no number. What is more than the system's clocks can count is as good as None.
    """
    if timeout is None:
        return None
    if isinstance(timeout, int | float) and not isinstance(timeout, bool):
        if timeout <= threading.TIMEOUT_MAX:
            return timeout
        if timeout > threading.TIMEOUT_MAX:  # which is not so of what is no number at all
            return None
    raise InvalidOption(f"{name} must be seconds, or None: {timeout!r:.80}")

"""Whether this process was paused: stopped, or its container was, while the monotonic clock went on.

A pause also stops the processes that a timer watches over. So an attempt is not judged by a timer that ran out during
a pause: the timer starts a second time.
"""

from __future__ import annotations

from typing import Final

#: Seconds by which a timer must be late to prove a pause. A loop that is merely busy is not that late.
PAUSE: Final = 1.0


def was_paused(due: float | None, now: float) -> bool:
    """Whether a timer that was due at `due` runs out at `now` because of a pause. None: there was no timer."""
    return due is not None and now - due > PAUSE

"""Whether this process stood still: it was stopped, or its container was paused, and the monotonic clock went on.

What it watches over stood still as well then, most likely. So nobody is judged by a clock that ran out meanwhile: it is
started anew.
"""

from __future__ import annotations

import asyncio
from typing import Final

#: Seconds by which a timer must be late to say so. A loop that is merely busy is not.
PAUSE: Final = 1.0


def was_paused(timer: asyncio.TimerHandle | None, now: float) -> bool:
    """Whether `timer`, which has just run out, did so while this process stood still; `now` is the loop's time."""
    return timer is not None and now - timer.when() > PAUSE

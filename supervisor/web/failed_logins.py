"""FailedLogins: how often wrong tokens came from an address, and when that is too often. Bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from .problems import Refused

#: Wrong tokens within the window after which an address is refused.
MOST: Final = 10
#: Seconds of the window.
WINDOW: Final = 60.0
#: Pairs of an address and a token's id that are remembered; the oldest go first.
KEPT: Final = 10_000


class FailedLogins:
    """Counts for each address and public id of a token. So a wrong one does not lock out others of its address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: When the window began, and the number of failures since.
        self._failures: dict[tuple[str, str], tuple[float, int]] = {}

    def check(self, address: str, id: str) -> None:
        """Raise Refused if there were too many failures."""
        began, count = self._failures.get((address, id), (0.0, 0))
        left = began + WINDOW - self._clock()
        if count >= MOST and left > 0:
            raise Refused(429, "too many wrong tokens; try again later", {"Retry-After": str(int(left) + 1)})

    def note(self, address: str, id: str) -> None:
        """A wrong token came."""
        now = self._clock()
        # A guessed id is not told from another one: they share one count.
        began, count = self._failures.pop((address, id), (now, 0))
        if now - began >= WINDOW:
            began, count = now, 0
        self._failures[address, id] = began, count + 1
        while len(self._failures) > KEPT:
            del self._failures[next(iter(self._failures))]

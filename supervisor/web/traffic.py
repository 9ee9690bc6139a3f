"""Traffic: how many requests this process has answered, with which status, and how long that took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Final

WEBSOCKET: Final = "WEBSOCKET"
#: Methods that are told apart. Anybody may send any other.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", WEBSOCKET})
OTHER: Final = "other"
#: Upper bounds, in seconds, of the times until an answer begins.
BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Traffic:
    """Counts from the start of the process on."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """By method and status."""
        self.times: dict[str, list[int]] = {}
        """By method: how many answers began within each of BOUNDS, and not within the one before; the rest last."""
        self.seconds: Counter[str] = Counter()
        """By method: the sum of these times."""

    def note(self, method: str, status: int, seconds: float) -> None:
        """An answer begins."""
        name = method if method in METHODS else OTHER
        self.requests[name, status] += 1
        self.times.setdefault(name, [0] * (len(BOUNDS) + 1))[bisect_left(BOUNDS, seconds)] += 1
        self.seconds[name] += seconds  # type: ignore[assignment] # seconds are floats

"""How often something may die before restarting it stops being a cure: Erlang's restart intensity."""

from __future__ import annotations

from collections import deque


class RestartIntensity:
    """Counts deaths in a sliding window. Pure: the caller brings the clock.

    `limit` deaths within `within` seconds are borne; the next one inside the window exceeds the intensity.
    The default, 5 in 10 s, bears a burst (five workers killed together by the OOM killer) and stops a loop
    (an app that dies as it starts) in well under a second of burnt CPU per death.

    Hazard, as in OTP: a window that is short against the time one start takes never fills, and the loop goes on
    for ever; 5 deaths of a program that needs 3 s to start are 15 s apart. Keep `within` above `limit` times
    the start time, or count the deaths before readiness on their own. A limit of 0 means the first death is final.
    """

    def __init__(self, limit: int = 5, within: float = 10.0) -> None:
        if limit < 0 or within <= 0:
            raise ValueError(f"limit must be >= 0 and within > 0 seconds, not {limit} and {within}")
        self.limit = limit
        self.within = within
        self._deaths: deque[float] = deque()

    def note(self, now: float) -> bool:
        """Record a death at `now` (seconds of a monotonic clock). True: too many, do not restart."""
        self._deaths.append(now)
        while self._deaths and now - self._deaths[0] > self.within:
            self._deaths.popleft()
        return len(self._deaths) > self.limit

    def clear(self) -> None:
        """Forget the past: a person asked for the restart."""
        self._deaths.clear()

    def __len__(self) -> int:
        """Deaths in the window as of the last note."""
        return len(self._deaths)

"""The limit of restarts within a time window (Erlang's restart intensity)."""

from __future__ import annotations

from collections import deque


class RestartIntensity:
    """Counts deaths in a sliding window. Pure: the caller passes the time.

    `limit` deaths within `within` seconds are allowed. The next one inside the window exceeds the intensity.
    The default, 5 in 10 s, allows a burst: the OOM killer kills five workers together. It stops a loop, such as an
    app that dies during its start, after less than a second of CPU time per death.

    Hazard, as in OTP: the window never fills if `limit` starts take longer than `within`, and the loop never ends.
    Five deaths of a program that needs 3 s to start take 15 s. Keep `within` above `limit` times the start time, or
    count the deaths before readiness separately. With a limit of 0 the first death is final.
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

    def __len__(self) -> int:
        """Deaths in the window as of the last note."""
        return len(self._deaths)

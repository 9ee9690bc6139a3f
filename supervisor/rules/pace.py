"""Pace: which tasks are quick, by the time that their last attempts took.

Being quick saves something else in each place, so there are three measures:

- The supervisor hands a task out ahead of free slots if its attempts take less than 2 ms on average. For such a task a
  round trip between supervisor and worker costs more than the task.
- A worker runs a task in a row with others on one thread if its last 8 attempts took less than 0.2 ms each. For such a
  task a switch of threads costs more.
- A worker lets the results of a task gather if its last 8 attempts took less than 5 ms of processor time each. Longer
  computing keeps the thread that sends the results from running.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Average seconds of an attempt below which a task is handed out ahead of free slots.
QUICK: Final = 0.002
#: Seconds of work that tasks handed out ahead may add up to on one worker.
AHEAD_SECONDS: Final = 0.02
#: The pace of a task that was never seen: long, so that it is not handed out ahead.
UNKNOWN: Final = 0.1
#: The weight of the last attempt in the average.
WEIGHT: Final = 0.2

#: Seconds, and seconds of processor time, of an attempt; attempts in a row that make a task count as such.
IN_A_ROW: Final = 0.0002
LIGHT: Final = 0.005
RUNS: Final = 8


class Paces:
    """Average seconds that attempts of each task took, by its name."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def learn(self, name: str, seconds: float) -> None:
        """An attempt has ended after `seconds`."""
        pace = self._seconds.get(name, UNKNOWN)
        self._seconds[name] = pace + (seconds - pace) * WEIGHT

    def of(self, name: str) -> float:
        """The average in seconds."""
        return self._seconds.get(name, UNKNOWN)

    def is_quick(self, name: str) -> bool:
        """Whether the task may be handed out ahead of free slots."""
        return self.of(name) < QUICK

    def fitting(self, names: Sequence[str], ahead: int) -> int:
        """How many of these tasks, from the first on, may be handed out behind `ahead` others."""
        for count, name in enumerate(names):
            pace = self.of(name)
            if pace >= QUICK or (ahead + count) * pace > AHEAD_SECONDS:
                return count
        return len(names)


class Streak:
    """How many of a task's last attempts in a row were short, and light."""

    __slots__ = ("_light", "_short")

    def __init__(self) -> None:
        self._short = self._light = 0

    @property
    def runs_in_a_row(self) -> bool:
        """Whether the task runs in a row with others on one thread."""
        return self._short >= RUNS

    @property
    def may_gather(self) -> bool:
        """Whether results need not be sent before the task begins."""
        return self._short >= RUNS or self._light >= RUNS

    def took(self, seconds: float) -> bool:
        """An attempt has ended after `seconds`. Whether it was short."""
        self._short = self._short + 1 if seconds < IN_A_ROW else 0
        return self._short > 0

    def broken(self) -> None:
        """The attempt has left something in its thread: the task must be looked at each time, however short it is."""
        self._short = 0

    def computed(self, seconds: float) -> None:
        """An attempt has ended after `seconds` of processor time."""
        self._light = self._light + 1 if seconds < LIGHT else 0

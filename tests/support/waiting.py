"""Waiting for a condition: tests poll until a deadline and never sleep for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two checks. They double from the first to the second value, so quick events stay quick.
SHORTEST_PAUSE = 0.001
LONGEST_PAUSE = 0.05


def until(predicate: Callable[[], T], timeout: float = 10, message: str | Callable[[], str] = "") -> T:
    """The first truthy value of `predicate()`; AssertionError if there is none within `timeout` seconds.

    `message` says what was awaited. If it is a function, it is called at the deadline to show the state.
    """
    deadline = time.monotonic() + timeout
    pause = SHORTEST_PAUSE
    while not (value := predicate()):
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            raise AssertionError(f"not within {timeout} s: {said or predicate}; last value: {value!r}")
        time.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
    return value

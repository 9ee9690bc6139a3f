"""CrashPlan: at which crash point of an `InlineRuntime` the process that is there dies."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ...actors.errors import InvalidOption
from ..testing import crash_points
from ..testing.crash_points import Process
from .relay import never_again, runner_here

#: The points that an inline runtime has, with their functions. The others belong to the start of processes, and to
#: clients: the client is the test.
POINTS: Final = {
    **{
        name: target
        for name, (process, target) in crash_points.POINTS.items()
        if process in (Process.SUPERVISOR, Process.WORKER) and name != "adopt"
    },
    "commit": "storage.memory_store:MemoryRows.apply",
}


class Crash(SystemExit):
    """Raised at a crash point, to leave the event loop of the process that dies there."""


class CrashPlan:
    """The crashes that are still to come."""

    def __init__(self) -> None:
        self._left: Counter[str] = Counter()

    def add(self, point: str, nth: int) -> None:
        """Let the process die at the nth time that it is at this point. InvalidOption if there is no such point."""
        name, dot, side = point.partition(".")
        side = side if dot else "before"
        if name not in POINTS or side not in ("before", "after"):
            raise InvalidOption(
                'a crash point is "POINT", "POINT.before" or "POINT.after", where POINT is one of '
                f"{', '.join(POINTS)}: {point!r:.100}"
            )
        _watch()
        self._left[f"{name}.{side}"] = nth

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Code of the supervisor runs in another thread meanwhile: nothing can die there."""
        before, self._left = self._left, Counter()
        try:
            yield
        finally:
            self._left = before

    def clear(self) -> None:
        """Let nothing die any more."""
        self._left.clear()

    def reached(self, point: str) -> bool:
        """Note that a process is at this point; whether it is to die there."""
        left = self._left.get(point)
        if left is None:
            return False
        if left > 1:
            self._left[point] -= 1
            return False
        del self._left[point]
        return True


class _Driving(threading.local):
    """The plan of the runtime that is driven by this thread."""

    plan: CrashPlan | None = None


driving: Final = _Driving()


@functools.cache
def _watch() -> None:
    """From the first plan of a process on, the points tell when they are reached."""
    crash_points.observe(POINTS, _at)


def _at(point: str) -> None:
    runner = runner_here()
    plan = driving.plan if runner is None else runner.relay.crashes
    if plan is None or not plan.reached(point):
        return
    if runner is None:
        raise Crash
    runner.relay.crashed = True
    never_again()

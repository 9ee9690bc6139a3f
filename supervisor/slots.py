"""The threads that sync tasks run on. A slot is the right to work, not a thread: a task that waits gives its slot up.

At most `limit` tasks work at once. A waiting task keeps its thread (its stack is there) but holds no slot, so another
task may begin; when it wakes it goes on at once, and for that moment there may be more at work than slots. Nothing
new begins until there are fewer again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from ..actors.host import Assignment
from .tokens import Tokens


class Slots:
    """Runs assignments on re-used threads, in the order they were added, each once a token was taken for it."""

    def __init__(
        self,
        limit: int,
        tokens: Tokens,
        perform: Callable[[Assignment], None],
        before_idle: Callable[[], None],
    ) -> None:
        self._limit = limit
        self._tokens = tokens
        self._perform = perform
        #: Called by a thread that has run out of work, before it sleeps.
        self._before_idle = before_idle
        self._change = threading.Condition(threading.Lock())
        self._queue: deque[Assignment] = deque()
        self._working = 0
        #: Threads that sleep, or are on their way to their first assignment.
        self._free = 0
        self._threads = 0

    def add(self, assignments: list[Assignment]) -> None:
        """More to do."""
        with self._change:
            self._queue.extend(assignments)
            self._rouse()

    def drop(self, count: int) -> list[Assignment]:
        """The last so many have been taken back by the supervisor."""
        with self._change:
            return [self._queue.pop() for _ in range(min(count, len(self._queue)))]

    def parked(self) -> None:
        """A working task waits now."""
        with self._change:
            self._working -= 1
            self._rouse()

    def resumed(self) -> None:
        """A waiting task goes on."""
        with self._change:
            self._working += 1

    def _rouse(self) -> None:
        """Have a thread look at the queue if it may find work there."""
        if self._queue and self._working < self._limit:
            if self._free:
                self._change.notify()
            else:
                self._free += 1
                self._threads += 1
                threading.Thread(target=self._run, name="understudy-slot", daemon=True).start()

    def _run(self) -> None:
        while (assignment := self._next()) is not None:
            try:
                self._perform(assignment)
            finally:
                with self._change:
                    self._working -= 1
                    self._free += 1

    def _next(self) -> Assignment | None:
        """Wait for the next assignment; None if there are threads enough without this one."""
        with self._change:
            reported = False
            while True:
                # A failed take means that the supervisor has taken the rest of the queue back and says so soon.
                if self._queue and self._working < self._limit and self._tokens.take():
                    self._free -= 1
                    self._working += 1
                    assignment = self._queue.popleft()
                    self._rouse()
                    return assignment
                if not reported:
                    self._change.release()
                    try:
                        self._before_idle()
                    finally:
                        self._change.acquire()
                    reported = True
                    continue
                if self._free > self._limit:
                    self._free -= 1
                    self._threads -= 1
                    return None
                self._change.wait()
                reported = False

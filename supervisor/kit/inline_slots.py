"""InlineSlots: the sync tasks of an `InlineWorker`, each in a runner."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from ...actors.attempt.host import Assignment
from ..channel.begin_tokens import BeginTokens
from .driver import Driver
from .relay import Relay
from .virtual_loop import VirtualLoop

log = logging.getLogger("understudy")


class InlineSlots:
    """See `SyncSlots`. Tasks begin in the order in which they were handed out, while there is a free slot."""

    def __init__(
        self,
        limit: int,
        tokens: BeginTokens,
        perform: Callable[[Assignment], None],
        driver: Driver,
        loop: VirtualLoop,
    ) -> None:
        self._limit = limit
        self._tokens = tokens
        self._perform = perform
        self._driver = driver
        self._relay: Relay = driver.relay
        self._loop = loop
        self._queue: deque[Assignment] = deque()
        self._working = 0

    def add(self, assignments: list[Assignment]) -> None:
        """See `SyncSlots`."""
        self._queue.extend(assignments)
        self._look_soon()

    def drop(self, count: int) -> list[Assignment]:
        """See `SyncSlots`."""
        return [self._queue.pop() for _ in range(min(count, len(self._queue)))]

    def parked(self) -> None:
        """See `SyncSlots`."""
        self._working -= 1
        self._look_soon()

    def resumed(self) -> None:
        """See `SyncSlots`."""
        self._working += 1

    def _look_soon(self) -> None:
        if self._queue:
            self._driver.post(self._loop, self._look)

    def _look(self) -> None:
        # If a take fails, the supervisor has taken back the rest of the queue. Its DROP order follows.
        if self._queue and self._working < self._limit and self._tokens.take():
            self._working += 1
            assignment = self._queue.popleft()
            self._look_soon()
            self._relay.run(lambda: self._work(assignment))

    def _work(self, assignment: Assignment) -> None:
        try:
            self._perform(assignment)
        except Exception:
            log.exception("task %s could not be run", assignment.task)
        finally:
            self.parked()

"""`TurnQueue`: what waits for a worker in one lane and is in memory only, in the order of its turns.

These are actors that have something to do, which is on disk as their letters, and tasks that the gate has let in, which
stand there on disk.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from ...storage.tables.schema import ready_sort
from .live_task import LiveTask


class TurnQueue:
    """One lane's queue: the highest priority first, then the one that has waited longest."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, LiveTask]] = []
        self._places: dict[bytes, int] = {}
        self._numbers = itertools.count(1)
        self._first = itertools.count(-1, -1)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[LiveTask]:
        """All that stand here, in no order."""
        return (task for _, number, task in self._heap if self._places.get(task.id) == number)

    def __contains__(self, task: LiveTask) -> bool:
        return task.id in self._places

    def push(self, task: LiveTask) -> None:
        """Add one; nothing if it stands here already."""
        if task.id not in self._places:
            self._add(task, next(self._numbers))

    def add(self, task: LiveTask) -> None:
        """Add one that does not stand here."""
        number = next(self._numbers)
        self._places[task.id] = number
        heapq.heappush(self._heap, (-task.options.priority, number, task))

    def put_back(self, task: LiveTask) -> None:
        """One that was just taken is the first of its priority again."""
        self._add(task, next(self._first))

    def _add(self, task: LiveTask, number: int) -> None:
        self._places[task.id] = number
        heapq.heappush(self._heap, (-task.options.priority, number, task))

    def discard(self, task: LiveTask) -> None:
        """Take one out, if it is here."""
        self._places.pop(task.id, None)

    @property
    def sort(self) -> int:
        """The sort of the first one's priority; the queue must not be empty."""
        self._drop_gone()
        return ready_sort(-self._heap[0][0])

    def take(self) -> LiveTask:
        """The first one, taken out; the queue must not be empty."""
        self._drop_gone()
        _, _, task = heapq.heappop(self._heap)
        del self._places[task.id]
        return task

    def take_some(self, count: int) -> list[LiveTask]:
        """The first one, taken out. If it is no actor, with others that are none behind it, at most `count`."""
        taken = [self.take()]
        if taken[0].rests:
            return taken
        heap, places = self._heap, self._places
        while len(taken) < count and places:
            _, number, task = heap[0]
            if places.get(task.id) == number:
                if task.rests:
                    break
                del places[task.id]
                taken.append(task)
            heapq.heappop(heap)
        return taken

    def _drop_gone(self) -> None:
        heap = self._heap
        while self._places.get(heap[0][2].id) != heap[0][1]:
            heapq.heappop(heap)

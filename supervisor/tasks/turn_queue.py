"""`TurnQueue`: the actors of one lane that have something to do, in the order of their turns.

It is in memory only: what an actor has to do is on disk as its letters.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

from ...storage.tables.schema import ready_sort
from .live_actor import LiveActor


class TurnQueue:
    """One lane's queue: the highest priority first, then the one that has waited longest."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, LiveActor]] = []
        self._places: dict[bytes, int] = {}
        self._numbers = itertools.count(1)
        self._first = itertools.count(-1, -1)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[LiveActor]:
        """The actors that stand here, in no order."""
        return (actor for _, number, actor in self._heap if self._places.get(actor.id) == number)

    def __contains__(self, actor: LiveActor) -> bool:
        return actor.id in self._places

    def push(self, actor: LiveActor) -> None:
        """Add an actor; nothing if it stands here already."""
        if actor.id not in self._places:
            self._add(actor, next(self._numbers))

    def put_back(self, actor: LiveActor) -> None:
        """An actor that was just taken is the first of its priority again."""
        self._add(actor, next(self._first))

    def _add(self, actor: LiveActor, number: int) -> None:
        self._places[actor.id] = number
        heapq.heappush(self._heap, (ready_sort(actor.options.priority), number, actor))

    def discard(self, actor: LiveActor) -> None:
        """Take an actor out, if it is here."""
        self._places.pop(actor.id, None)

    @property
    def sort(self) -> int:
        """The sort of the first one's priority; the queue must not be empty."""
        self._drop_gone()
        return self._heap[0][0]

    def take(self) -> LiveActor:
        """The first one, taken out; the queue must not be empty."""
        self._drop_gone()
        _, _, actor = heapq.heappop(self._heap)
        del self._places[actor.id]
        return actor

    def _drop_gone(self) -> None:
        heap = self._heap
        while self._places.get(heap[0][2].id) != heap[0][1]:
            heapq.heappop(heap)

"""Residency: which worker has which actors in memory, and when they are put to rest.

An actor is put to rest when it has had nothing to do for its `idle` seconds, and when its worker has more than
`active_actors` of them: then those go first that have rested longest.
"""

from __future__ import annotations

import asyncio
import operator
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from ..tasks.attempt import Seat
from ..tasks.live_actor import LiveActor


class Residency:
    """The actors that are in the memory of a worker."""

    def __init__(self, most: int, put_to_rest: Callable[[LiveActor], None]) -> None:
        """`most`: actors in one worker. `put_to_rest` is called for one that has nothing to do."""
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._put_to_rest = put_to_rest
        #: The actors of each worker.
        self._on: defaultdict[Seat, set[LiveActor]] = defaultdict(set)
        #: The durable ones that have nothing to do, by worker and idle seconds, the longest first.
        self._resting: defaultdict[tuple[Seat, float | None], OrderedDict[LiveActor, None]] = defaultdict(
            OrderedDict
        )
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Put none to rest any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._resting.clear()

    def at_work(self, actor: LiveActor, seat: Seat) -> None:
        """A turn of it is handed to this worker, which has its object from now on."""
        if actor.seat is not seat:
            self.leave(actor)
            actor.seat = seat
            self._on[seat].add(actor)
        else:
            self._no_rest(actor)

    def at_rest(self, actor: LiveActor) -> None:
        """It has nothing to do. It stays in the memory of its worker."""
        seat, idle = actor.seat, actor.rules.idle
        if seat is None or not actor.durable:
            return
        self._no_rest(actor)
        actor.rested = now = self._loop.time()
        actor.resting = resting = self._resting[seat, idle]
        resting[actor] = None
        if idle is not None and (self._timer is None or self._timer.when() > now + idle):
            self._look_at(now + idle)
        if len(self._on[seat]) > self._most:
            places = [resting for (at, _), resting in self._resting.items() if at is seat and resting]
            first = min((next(iter(resting)) for resting in places), key=_rested)
            self._no_rest(first)
            self._put_to_rest(first)

    def leave(self, actor: LiveActor) -> None:
        """No worker has it in memory any more."""
        if actor.seat is not None:
            self._no_rest(actor)
            on = self._on[actor.seat]
            on.discard(actor)
            if not on:
                del self._on[actor.seat]
                for place in [place for place in self._resting if place[0] is actor.seat]:
                    del self._resting[place]
            actor.seat = None
            actor.passivate = False

    def _no_rest(self, actor: LiveActor) -> None:
        if actor.resting is not None:
            del actor.resting[actor]
            actor.resting = None

    def of(self, seat: Seat) -> list[LiveActor]:
        """The actors that this worker has in memory."""
        return list(self._on.get(seat, ()))

    def _look(self) -> None:
        """Put those to rest whose time is over, and look again when the next one's is."""
        self._timer = None
        now = self._loop.time()
        waits: list[float] = []
        for (_, idle), resting in list(self._resting.items()):
            if idle is None:
                continue
            while resting:
                actor = next(iter(resting))
                wait = actor.rested + idle - now
                if wait > 0:
                    waits.append(wait)
                    break
                self._no_rest(actor)
                self._put_to_rest(actor)
        if waits:
            self._look_at(now + min(waits))

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)


_rested = operator.attrgetter("rested")

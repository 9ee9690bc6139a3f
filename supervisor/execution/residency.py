"""Residency: which worker has which actors in memory, and when they are put to rest.

An actor is put to rest when it has had nothing to do for its `idle` seconds, and when its worker has more than
`active_actors` of them: then those go first that have rested longest. An isolated actor keeps its worker process while
it rests. At most `isolated` processes are kept so.
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

    def __init__(self, most: int, most_alone: int, put_to_rest: Callable[[LiveActor], None]) -> None:
        """`most`: actors in one worker. `most_alone`: those at rest in workers of their own.

        `put_to_rest` is called for one that has nothing to do.
        """
        self._loop = asyncio.get_running_loop()
        self._most = most
        self._most_alone = most_alone
        self._put_to_rest = put_to_rest
        #: The durable ones that have nothing to do, by worker and idle seconds, the longest first.
        self._resting: defaultdict[tuple[Seat, float | None], OrderedDict[LiveActor, None]] = defaultdict(
            OrderedDict
        )
        #: Those of them that have a worker of their own, the longest at rest first.
        self._alone: OrderedDict[LiveActor, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Put none to rest any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._resting.clear()
        self._alone.clear()

    def at_work(self, actor: LiveActor, seat: Seat) -> None:
        """A turn of it is handed to this worker, which has its object from now on."""
        if actor.seat is not seat:
            self.leave(actor)
            actor.seat = seat
            seat.residents.add(actor)
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
        if seat.alone:
            self._alone[actor] = None
            if len(self._alone) > self._most_alone:
                self._put_away(next(iter(self._alone)))
        elif len(seat.residents) > self._most:
            places = [resting for (at, _), resting in self._resting.items() if at is seat and resting]
            self._put_away(min((next(iter(resting)) for resting in places), key=_rested))

    def _put_away(self, actor: LiveActor) -> None:
        self._no_rest(actor)
        self._put_to_rest(actor)

    def leave(self, actor: LiveActor) -> None:
        """No worker has it in memory any more."""
        if actor.seat is not None:
            self._no_rest(actor)
            actor.seat.residents.discard(actor)
            if not actor.seat.residents:
                for place in [place for place in self._resting if place[0] is actor.seat]:
                    del self._resting[place]
            actor.seat = None
            actor.passivate = False

    def _no_rest(self, actor: LiveActor) -> None:
        if actor.resting is not None:
            del actor.resting[actor]
            actor.resting = None
            self._alone.pop(actor, None)

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
                self._put_away(actor)
        if waits:
            self._look_at(now + min(waits))

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)


_rested = operator.attrgetter("rested")

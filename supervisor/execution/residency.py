"""Residency: which worker has which actors in memory, and when they are put to rest.

An actor is put to rest when it has had nothing to do for its `idle` seconds, and when its worker has more than
`active_actors` of them: then those go first that have rested longest.
"""

from __future__ import annotations

import asyncio
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
        #: By worker, and of these the durable ones that have nothing to do, the longest first.
        self._on: defaultdict[Seat, dict[bytes, LiveActor]] = defaultdict(dict)
        self._resting: defaultdict[Seat, OrderedDict[bytes, LiveActor]] = defaultdict(OrderedDict)
        #: The same ones by their idle seconds, with the loop's time at which they came to rest.
        self._since: defaultdict[float, OrderedDict[bytes, tuple[float, LiveActor]]] = defaultdict(
            OrderedDict
        )
        self._timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Put none to rest any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._since.clear()

    def at_work(self, actor: LiveActor, seat: Seat) -> None:
        """A turn of it is handed to this worker, which has its object from now on."""
        if actor.seat is not seat:
            self.leave(actor)
            actor.seat = seat
            self._on[seat][actor.id] = actor
        else:
            self._no_rest(actor)

    def at_rest(self, actor: LiveActor) -> None:
        """It has nothing to do. It stays in the memory of its worker."""
        seat = actor.seat
        if seat is None or not actor.durable:
            return
        resting = self._resting[seat]
        resting[actor.id] = actor
        idle = actor.rules.idle
        if idle is not None:
            now = self._loop.time()
            self._since[idle][actor.id] = now, actor
            if self._timer is None or self._timer.when() > now + idle:
                self._look_at(now + idle)
        if len(self._on[seat]) > self._most and resting:
            self._put_to_rest(next(iter(resting.values())))

    def leave(self, actor: LiveActor) -> None:
        """No worker has it in memory any more."""
        if actor.seat is not None:
            self._no_rest(actor)
            on = self._on[actor.seat]
            on.pop(actor.id, None)
            if not on:
                del self._on[actor.seat]
                self._resting.pop(actor.seat, None)
            actor.seat = None
            actor.passivate = False

    def _no_rest(self, actor: LiveActor) -> None:
        assert actor.seat is not None
        self._resting[actor.seat].pop(actor.id, None)
        if actor.rules.idle is not None and (since := self._since.get(actor.rules.idle)) is not None:
            since.pop(actor.id, None)

    def of(self, seat: Seat) -> list[LiveActor]:
        """The actors that this worker has in memory."""
        return list(self._on.get(seat, {}).values())

    def _look(self) -> None:
        """Put those to rest whose time is over, and look again when the next one's is."""
        self._timer = None
        now = self._loop.time()
        waits: list[float] = []
        for idle, since in list(self._since.items()):
            while since:
                id, (at, actor) = next(iter(since.items()))
                if at + idle > now:
                    waits.append(at + idle - now)
                    break
                del since[id]
                self._put_to_rest(actor)
            else:
                del self._since[idle]
        if waits:
            self._look_at(now + min(waits))

    def _look_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

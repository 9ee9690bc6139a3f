"""`PoolStates`: what the workers of each pool do just now."""

from __future__ import annotations

from typing import Final, NamedTuple

from ...storage.tables.schema import READY, Lane
from ..channel.interface import HANDED
from ..settings import Settings
from ..tasks.pool_lanes import lanes_of
from ..tasks.queues import Queues
from .worker_pool import WorkerPool
from .worker_seat import WorkerSeat

#: The lanes on disk in which a task waits for a worker.
_WAITS: Final = frozenset((*READY, Lane.POOL))


class PoolState(NamedTuple):
    """What the workers of a pool do. `name` is None for those of tasks without a pool."""

    name: str | None
    workers: int
    processes: int
    slots: int
    used: int
    tasks: int
    #: What waits for a worker and does not stand in its lanes on disk: actors, and tasks that a limit has let in.
    unseen: int
    #: Of the tasks on its workers, those that the disk shows as waiting for one.
    shown_waiting: int


class PoolStates:
    """Looks at the workers and queues of pools."""

    def __init__(self, pool: WorkerPool, queues: Queues, settings: Settings) -> None:
        self._pool = pool
        self._queues = queues
        self._settings = settings

    def all(self) -> list[PoolState]:
        """The state of each pool: that of tasks without one first, then the others by name."""
        first, *others = self._settings.pool_names
        return [self._of(name) for name in (first, *sorted(filter(None, others)))]

    def _of(self, name: str | None) -> PoolState:
        settings = self._settings
        seats = [seat for seat in self._pool.seats if seat.pool == name]
        slots, turns = settings.slots_in(name), self._queues.turns
        begun, shown = 0, 0
        for seat in seats:
            here, waiting = _begun(seat)
            begun += here
            shown += waiting
        return PoolState(
            name,
            settings.workers_in(name),
            sum(seat.pid > 0 for seat in seats),
            settings.workers_in(name) * slots,
            sum(min(seat.working(Lane.SYNC), slots) for seat in seats if not seat.alone),
            begun,
            sum(len(turns[lane]) for lane in lanes_of(name).values()),
            shown,
        )


def _begun(seat: WorkerSeat) -> tuple[int, int]:
    """How many of a worker's tasks have begun, and how many of these the disk shows as waiting."""
    not_begun = {task.id for lane in HANDED for task in seat.not_begun(lane)[1]}
    begun = [task for id, task in seat.tasks.items() if id not in not_begun]
    return len(begun), sum(task.stored_key is not None and task.stored_key[0] in _WAITS for task in begun)

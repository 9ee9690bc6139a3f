"""A worker's seat: the tasks that one worker has, and how much room it has for more.

The seat counts; the channel talks to the worker. The seat passes the channel's reports on to `WorkerEvents`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, Protocol

from ...actors.clock import SYSTEM, Clock
from ...actors.errors import AppFailed
from ...storage.tables.schema import Lane
from ..channel.interface import HANDED, ChannelEvents, Frame, WorkerChannel
from ..linux.processes import ExitStatus
from ..tasks.attempt import Attempt
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.pool_lanes import AnyLane, lane_in

#: The lane in which a task is handed out, by the lane in which it waits; of all others it is that of sync tasks.
_LANES: Final = {Lane.ASYNC: Lane.ASYNC, Lane.RUN_ASYNC: Lane.ASYNC, Lane.RUN: Lane.RUN}


@functools.cache
def _lanes_in(pool: str | None) -> dict[AnyLane, Lane]:
    """As `_LANES`, by the lanes of a pool."""
    return {lane_in(pool, waits): handed for waits, handed in _LANES.items()}


class WorkerEvents(Protocol):
    """The receiver of everything that happens on workers."""

    def reported(self, seat: WorkerSeat, frame: Frame) -> None:
        """A report has come in."""

    def took_back(self, seat: WorkerSeat, lane: Lane, count: int) -> None:
        """The last `count` tasks of the lane have not begun there, and will not."""

    def ready(self, seat: WorkerSeat) -> None:
        """It accepts tasks again."""

    def lost(self, seat: WorkerSeat) -> None:
        """Its connection is gone."""

    def died(self, seat: WorkerSeat, status: ExitStatus) -> bool:
        """It is dead. Whether a task explains the death."""

    def retiring(self, seat: WorkerSeat) -> None:
        """It gets nothing new: take back the tasks that it has not begun."""

    def over_memory(self, seat: WorkerSeat) -> None:
        """It has taken more memory than its only task may."""


class WorkerSeat:
    """One worker's place in the pool. Made when the spawn is asked for."""

    def __init__(
        self,
        number: int,
        open_channel: Callable[[ChannelEvents], WorkerChannel],
        events: WorkerEvents,
        *,
        alone: bool,
        pool: str | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.number = number
        #: For one task that needs a worker of its own.
        self.alone = alone
        #: The pool whose tasks it runs, and no others; None for the tasks without one.
        self.pool = pool
        self._handed_in = _lanes_in(pool).get
        self.spawned_at = clock.time()
        #: Gets nothing new; stops when it has nothing left.
        self.retiring = False
        #: The supervisor stops: whatever ends the worker now, no task is to blame.
        self.blameless = False
        #: Was told to exit.
        self.stopping = False
        #: Why it could not begin to work: the error of a start hook.
        self.failure: AppFailed | None = None
        #: The tasks for whose sake it is being killed, with the reason; the others are interrupted.
        self.condemned: dict[bytes, str] = {}
        #: Everything it has, by id, and of that what is not known to have begun, in the order handed out.
        self.tasks: dict[bytes, LiveTask] = {}
        self.handed: dict[Lane, dict[bytes, LiveTask]] = {lane: {} for lane in HANDED}
        #: How many of its tasks wait, by lane.
        self.waiting = dict.fromkeys(HANDED, 0)
        self.counts = dict.fromkeys(HANDED, 0)
        #: The actors that it has in memory, at work or at rest; kept by `Residency`.
        self.residents: set[LiveActor] = set()
        #: Attempts that have ended here.
        self.done = 0
        self._events = events
        self.channel = open_channel(self)

    @property
    def pid(self) -> int:
        """0 until the worker has come up."""
        return self.channel.pid

    # --- room ---

    def lane_of(self, task: LiveTask) -> Lane:
        """The lane in which a task was handed to this worker."""
        return Lane.SYNC if self.alone else self._handed_in(task.lane, Lane.SYNC)

    def working(self, lane: Lane) -> int:
        """Tasks of a lane that are not waiting."""
        return self.counts[lane] - self.waiting[lane]

    def takes(self, lane: Lane) -> bool:
        """Whether it may be handed tasks of a lane."""
        return not self.retiring and self.channel.accepts(lane)

    # --- tasks ---

    def hand(self, lane: Lane, tasks: list[LiveTask], now: float) -> None:
        """Hand out tasks; `now` is the event loop's time."""
        for task in tasks:
            task.attempt = Attempt(self, now)
        by_id = {task.id: task for task in tasks}
        self.handed[lane].update(by_id)
        self.tasks.update(by_id)
        self.counts[lane] += len(tasks)
        self.channel.run(lane, [task.assignment() for task in tasks])

    def drop(self, task: LiveTask) -> None:
        """A task is not on this worker any more."""
        id = task.id
        del self.tasks[id]
        lane = self.lane_of(task)
        self.handed[lane].pop(id, None)
        self.counts[lane] -= 1
        if task.attempt is not None and task.attempt.parked:
            self.waiting[lane] -= 1
        self.channel.forget(id)

    def take_back(self, lane: Lane) -> list[LiveTask] | None:
        """The tasks of a lane that have not begun and will not, oldest first. None: `took_back` names them later."""
        if not self.handed[lane]:
            return []
        count = self.channel.take_back(lane)
        return None if count is None else self.last(lane, count)

    def last(self, lane: Lane, count: int) -> list[LiveTask]:
        """The last `count` tasks handed out in a lane, oldest first."""
        tasks = list(self.handed[lane].values())
        return tasks[max(0, len(tasks) - count) :]

    def not_begun(self, lane: Lane) -> tuple[list[LiveTask], list[LiveTask]]:
        """(tasks newly found to have begun, tasks that have not begun), both oldest first."""
        tasks = list(self.handed[lane].values())
        begun = len(tasks) - min(self.channel.unbegun(lane), len(tasks))
        return tasks[:begun], tasks[begun:]

    def set_parked(self, task: LiveTask, parked: bool) -> None:
        """A task waits now, or goes on."""
        attempt = task.attempt
        if attempt is not None and attempt.parked != parked:
            attempt.parked = parked
            self.waiting[self.lane_of(task)] += 1 if parked else -1

    # --- the worker itself ---

    def stop(self) -> None:
        """Let it exit; said once."""
        if not self.stopping:
            self.stopping = True
            self.channel.stop()

    # --- the channel's events ---

    def reported(self, frame: Frame) -> None:
        """See `ChannelEvents`."""
        self._events.reported(self, frame)

    def lost(self) -> None:
        """See `ChannelEvents`."""
        self._events.lost(self)

    def took_back(self, lane: Lane, count: int) -> None:
        """See `ChannelEvents`."""
        self._events.took_back(self, lane, count)

    def ready(self, lane: Lane) -> None:
        """See `ChannelEvents`."""
        self._events.ready(self)

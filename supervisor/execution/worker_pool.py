"""The pool of workers, wherever they run: it has as many as are wanted, replaces dead ones and retires aged ones."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...actors.clock import SYSTEM, Clock
from ...actors.errors import AppFailed
from ...storage.tables.schema import Lane
from ..channel.interface import ChannelEvents, WorkerChannel
from ..linux.processes import ExitStatus
from ..rules.restart_intensity import RestartIntensity
from ..settings import Settings
from .worker_seat import WorkerEvents, WorkerSeat

log = logging.getLogger("understudy")

#: Seconds between two warnings of the same.
TELL_AGAIN: Final = 60.0
#: Waiting tasks in workers of their own, for each one that may work, above which this is reported.
MANY_WAITING: Final = 8


class WorkerPool(ABC):
    """The seats of all workers. A subclass brings the workers up and ends them."""

    def __init__(
        self, settings: Settings, events: WorkerEvents, turn: Callable[[], None], clock: Clock = SYSTEM
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._settings = settings
        self._events = events
        self._turn = turn
        self.seats: list[WorkerSeat] = []
        #: Set once the app is loaded, or has failed to.
        self.app_ready = asyncio.Event()
        self.app_error: AppFailed | None = None
        self._restarts = RestartIntensity(settings.restarts, max(settings.restarts_within, 0.001))
        self._number = 0
        #: When it may be said again that many isolated tasks only wait.
        self._isolated_told = 0.0
        self._stopping = False
        self.empty = asyncio.Event()
        self.empty.set()

    # --- what a subclass gives ---

    @abstractmethod
    def _open_channel(self, events: ChannelEvents) -> WorkerChannel:
        """The channel of a worker that is about to come up. OSError if there is no room for one."""

    @abstractmethod
    def _bring_up_soon(self, seat: WorkerSeat) -> None:
        """Start the worker of this seat."""

    def _config_of(self, seat: WorkerSeat) -> dict[str, Any]:
        """What the worker of this seat is told when it comes up, beside its home and its modules."""
        settings = self._settings
        return {
            "number": seat.number,
            "slots": 1 if seat.alone else settings.slots_in(seat.pool),
            "run_slots": settings.run_slots,
            "alone": seat.alone,
            "value_limit": settings.value_limit,
            "env": settings.env_in(seat.pool),
        }

    @abstractmethod
    def _spawn_failed(self, error: Exception) -> None:
        """There is no room for another worker just now."""

    @abstractmethod
    def _give_up(self, error: AppFailed) -> None:
        """Start nothing more."""

    def reap(self) -> None:  # noqa: B027 - not every subclass has to do something
        """End what dead workers have left behind."""

    @abstractmethod
    async def declare(self, modules: Sequence[str]) -> None:
        """More modules hold tasks; AppFailed if one cannot be imported."""

    @abstractmethod
    async def declare_again(self) -> None:
        """Let modules be imported again that could not be imported."""

    # --- workers ---

    def interrupt_all(self) -> None:
        """Ask every running task to let go at its next chance, and workers with nothing left to exit."""
        self._stopping = True
        for seat in self.seats:
            seat.blameless = True
            self.retire(seat)

    def ensure(self) -> None:
        """Have as many workers as are wanted."""
        if self._stopping or not self.app_ready.is_set() or self.app_error is not None:
            return
        for pool in self._settings.pool_names:
            shared = sum(seat.pool == pool and not seat.alone and not seat.retiring for seat in self.seats)
            for _ in range(self._settings.workers_in(pool) - shared):
                self._spawn(pool, alone=False)

    def want_isolated(self, count: int, pool: str | None = None) -> None:
        """So many tasks of a pool wait for a worker of their own."""
        if self._stopping or self.app_error is not None:
            return
        isolated = self._isolated(pool)
        idle = sum(not seat.retiring and not seat.tasks and not seat.done for seat in isolated)
        # A task that waits does not count, as it takes no slot elsewhere: it may wait for one of those that stand here.
        waiting = sum(_only_waits(seat) for seat in isolated)
        for _ in range(min(count, self.isolated_room(pool)) - idle):
            self._spawn(pool, alone=True)
        if waiting > MANY_WAITING * self._settings.isolated_in(pool):
            self._tell_of_waiting(waiting)

    def _tell_of_waiting(self, waiting: int) -> None:
        """Say how many processes are there for tasks that only wait; once a minute at most."""
        if self._loop.time() >= self._isolated_told:
            self._isolated_told = self._loop.time() + TELL_AGAIN
            log.warning(
                "%d tasks that only wait have a worker process of their own each, and more are started; do not use "
                "`isolate` and `memory_limit` for many tasks that wait for long",
                waiting,
            )

    def _isolated(self, pool: str | None) -> list[WorkerSeat]:
        """The workers for one task in a pool."""
        return [seat for seat in self.seats if seat.alone and seat.pool == pool]

    def isolated_room(self, pool: str | None = None) -> int:
        """How many more workers for one task may be at work in a pool. A worker whose task waits is not."""
        busy = sum(not all(task.parked for task in seat.tasks.values()) for seat in self._isolated(pool))
        return self._settings.isolated_in(pool) - busy

    def kept_isolated(self, pool: str | None = None) -> list[WorkerSeat]:
        """Workers for one actor of a pool, which rests there."""
        return [
            seat
            for seat in self._isolated(pool)
            if seat.takes(Lane.SYNC) and not seat.tasks and seat.residents
        ]

    def idle_isolated(self, pool: str | None = None) -> list[WorkerSeat]:
        """Workers for one task of a pool that have not got theirs yet."""
        return [
            seat
            for seat in self._isolated(pool)
            if seat.takes(Lane.SYNC) and not seat.tasks and not seat.done
        ]

    def _spawn(self, pool: str | None, *, alone: bool) -> None:
        self._number += 1
        try:
            seat = WorkerSeat(
                self._number, self._open_channel, self._events, alone=alone, pool=pool, clock=self._clock
            )
        except OSError as error:
            self._spawn_failed(error)
            return
        self.seats.append(seat)
        self.empty.clear()
        self._bring_up_soon(seat)

    # --- ends ---

    def retire(self, seat: WorkerSeat) -> None:
        """Give it nothing new, interrupt what it has, and let it exit when it has nothing left."""
        if seat.retiring:
            return
        seat.retiring = True
        self._events.retiring(seat)
        seat.channel.interrupt()
        if not seat.tasks:
            seat.stop()
        self._turn()

    def settle(self, seat: WorkerSeat) -> None:
        """After reports: a worker that has served its purpose stops."""
        if not seat.retiring and not seat.alone and 0 < self._settings.worker_tasks <= seat.done:
            log.info("worker %d has done %d tasks and is replaced", seat.pid, seat.done)
            self.retire(seat)
            self.ensure()
        if not seat.tasks and (seat.retiring or (seat.alone and seat.done and not seat.residents)):
            seat.retiring = True
            seat.stop()

    def _bury(self, seat: WorkerSeat, status: ExitStatus) -> None:
        """A worker is dead."""
        pid = seat.pid
        self.seats.remove(seat)
        # What it had said before it died still counts: results, and who waited.
        seat.channel.last_words()
        try:
            explained = self._events.died(seat, status)
        except Exception:
            log.exception("the tasks of worker %d could not all be settled after its death", pid)
            explained = False
        seat.channel.close()
        if seat.failure is not None:
            log.error("worker %d could not start: %s", pid, seat.failure)
        elif not seat.retiring:
            log.warning("worker %d ended with %s", pid, status)
        self._forget(seat)
        self.reap()
        if not explained and not seat.retiring and not self._stopping:
            failure = seat.failure or AppFailed(f"worker {pid} ended with {status} without a task to blame")
            self._count_death(failure)
        self.ensure()
        self._turn()

    def _forget(self, seat: WorkerSeat) -> None:
        if seat in self.seats:
            self.seats.remove(seat)
            seat.channel.close()
        if not self.seats:
            self.empty.set()

    def _count_death(self, failure: AppFailed) -> None:
        if self._restarts.note(self._loop.time()) and not self._stopping:
            self._give_up(
                AppFailed(
                    f"workers die too often: {len(self._restarts)} deaths within "
                    f"{self._restarts.within:g} s. The last: {failure.args[0]}",
                    failure.remote_traceback,
                )
            )


def _only_waits(seat: WorkerSeat) -> bool:
    """Whether the worker has tasks, and all of them wait."""
    return bool(seat.tasks) and all(task.parked for task in seat.tasks.values())

"""World: everything that a crash ends: the supervisor's core and its workers. The committed rows outlive it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...actors.errors import AppFailed
from ...actors.task import worker_hooks
from ...storage.memory_store import MemoryRows, MemoryStore
from ..channel.interface import ChannelEvents
from ..channel.local import LocalChannel
from ..daemon.chores import PRUNE_EVERY
from ..daemon.core import Core
from ..execution.attempts import Attempts
from ..execution.worker_pool import WorkerPool
from ..execution.worker_seat import WorkerEvents, WorkerSeat
from ..linux.processes import ExitStatus
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from .crash_plan import Crash
from .declarations import declared_here
from .driver import Driver
from .inline_transport import InlineTransport
from .inline_worker import InlineWorker
from .virtual_clock import LoopClock
from .virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from ..client.runtime import Runtime
    from .inline_client import InlineConnection

log = logging.getLogger("understudy")

#: Pids of the workers, and that of the supervisor, are above this: no process of the system has such a one, so nobody
#: kills one by accident.
PIDS: Final = 1 << 30
KILLED: Final = ExitStatus(signal=9)
STOPPED: Final = ExitStatus(code=0)


class World:
    """One supervisor with its workers."""

    def __init__(
        self,
        driver: Driver,
        rows: MemoryRows,
        settings: Settings,
        home: Path,
        new_runtime: Callable[[VirtualLoop], Runtime],
    ) -> None:
        """`new_runtime` makes the runtime of a worker."""
        self.driver = driver
        self.loop = driver.new_loop()
        self.settings = settings
        self.home = home
        self.new_runtime = new_runtime
        #: Those of clients that are connected.
        self.connections: list[InlineConnection] = []
        self._rows = rows
        #: By pid.
        self.workers: dict[int, InlineWorker] = {}
        self.pool: InlinePool
        self.core: Core
        try:
            driver.call_inside(self.loop, self._boot)
        except Crash:
            self.die()
            raise

    def _boot(self) -> None:
        self._clock = clock = LoopClock(self.driver, self.loop)
        self._pruned = self.driver.now
        self._jobs: set[asyncio.Task[int]] = set()

        def open_store(home: Path, **options: Any) -> MemoryStore:
            return MemoryStore.open(home, rows=self._rows, **options)

        def open_pool(attempts: Attempts, turn: Callable[[], None]) -> InlinePool:
            self.pool = InlinePool(self, self.settings, attempts, turn, clock)
            return self.pool

        commits = CommitLoop(self.home, self.settings, clock, open_store)
        facts = {"pid": PIDS, "embedded": True, "script": None, "settings": self.settings.told()}
        self.core = core = Core(commits, self.settings, facts, open_pool)
        core.recover()
        self.declare()
        self.pool.app_ready.set()
        self.pool.ensure()
        core.turn()

    def declare(self) -> None:
        """Take in the tasks and actor classes of this process."""
        worker_hooks.start()
        self.core.table.declare(declared_here())

    def settle(self) -> bool:
        """Called when nothing is left to do; whether there is something after all."""
        if self.driver.now - self._pruned >= PRUNE_EVERY:
            self._pruned = self.driver.now
            self._jobs.add(job := self.loop.create_task(self.core.service.prune(self._clock.time())))
            job.add_done_callback(self._jobs.discard)
            return True
        return self.core.dispatcher.note_begun()

    def stopped(self, worker: InlineWorker) -> None:
        """A worker has ended as it was told to."""
        self.pool.over(worker, STOPPED)

    def forget_runtime(self, runtime: Runtime | None) -> None:
        """A worker is dead, and its connection with it."""
        if runtime is not None:
            runtime.close()

    def die(self) -> None:
        """Nothing of it goes on from now on."""
        for worker in self.workers.values():
            worker.end()
        self.driver.bury(self.loop)
        for seat in self.pool.seats:
            seat.channel.close()

    def cut(self) -> None:
        """Tell those that are connected."""
        for connection in list(self.connections):
            connection.cut()


class InlinePool(WorkerPool):
    """A pool of workers that are no processes."""

    _pids = PIDS

    def __init__(
        self,
        world: World,
        settings: Settings,
        events: WorkerEvents,
        turn: Callable[[], None],
        clock: LoopClock,
    ) -> None:
        super().__init__(settings, events, turn, clock)
        self._world = world
        self._workers = world.workers

    def _open_channel(self, events: ChannelEvents) -> LocalChannel:
        return LocalChannel(self._settings, events, self._kill)

    def _bring_up_soon(self, seat: WorkerSeat) -> None:
        channel = seat.channel
        assert isinstance(channel, LocalChannel)
        InlinePool._pids += 1
        config = {**self._config_of(seat), "home": str(self._world.home), "modules": []}
        worker = InlineWorker(self._world, channel, config)
        channel.pid = InlinePool._pids
        self._workers[channel.pid] = worker
        channel.connection_made(InlineTransport(worker.deliver))
        self._turn()

    def _spawn_failed(self, error: Exception) -> None:
        raise error

    def _give_up(self, error: AppFailed) -> None:
        if self.app_error is None:
            self.app_error = error
            self._world.core.service.give_up(error)

    def _kill(self, pid: int) -> None:
        worker = self._workers.get(pid)
        if worker is not None:
            self.over(worker, KILLED)

    def over(self, worker: InlineWorker, status: ExitStatus) -> None:
        """A worker has ended. What it had sent before counts."""
        if worker.alive:
            worker.end()
            self._world.driver.post(self._world.loop, self._gone, worker, status)

    def _gone(self, worker: InlineWorker, status: ExitStatus) -> None:
        pid = next(pid for pid, each in self._workers.items() if each is worker)
        del self._workers[pid]
        seat = next(seat for seat in self.seats if seat.pid == pid)
        self._bury(seat, status)

    async def declare(self, modules: Sequence[str]) -> None:
        """See `WorkerPool`."""
        self._world.declare()

    async def declare_again(self) -> None:
        """See `WorkerPool`. What can be imported here is imported."""

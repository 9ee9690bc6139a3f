"""InlineWorker: a worker that is no process. It has an event loop, which stands still once the worker is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ...actors.attempt.actor import TaskActor
from ...actors.attempt.host import Assignment, Outcome
from ...actors.attempt.turn import TurnActor
from ...actors.clock import TimedFuture
from ...storage.tables.schema import Lane
from ..channel.local import LocalChannel
from ..channel.wait_marks import WaitMarks
from ..wire.codec import Decoder
from ..wire.messages import Order
from ..worker.actor_host import ActorHost
from ..worker.report_buffer import LINGER, ReportBuffer, Signal, Watched
from .inline_slots import InlineSlots
from .inline_transport import in_reads
from .virtual_clock import LoopClock

if TYPE_CHECKING:
    from ..client.runtime import Runtime
    from .driver import Driver
    from .virtual_loop import VirtualLoop
    from .world import World


class InlineWorker(ActorHost):
    """Implements `Host`. Orders and reports are the bytes that go between processes elsewhere."""

    def __init__(self, world: World, channel: LocalChannel, config: dict[str, Any]) -> None:
        self._world = world
        self.driver = world.driver
        self.loop = world.driver.new_loop()
        self._channel = channel
        #: It shares the memory, not the descriptor, which each side closes.
        self._shared_marks = WaitMarks(channel.marks.dup())
        super().__init__(
            config, channel.tokens[Lane.ASYNC], self._shared_marks, LoopClock(self.driver, self.loop)
        )
        self.calls = RunnerExecutor(self.driver, self.loop)
        self.loop.set_default_executor(self.calls)
        self._decoder = Decoder(self._value_limit)
        self._reports = self._own_reports = _Reports(self, self._actors)
        self._slots = self._new_slots(config["slots"], Lane.SYNC)
        self._runtime: Runtime | None = None
        self.alive = True

    def deliver(self, data: bytes) -> None:
        """Take orders of the supervisor."""
        self.driver.post(self.loop, self._receive, data)

    def _receive(self, data: bytes) -> None:
        if not self.alive:
            return
        for order in self._decoder.feed(data):
            if order[0] == Order.STOP:
                self._reports.flush()
                self._world.stopped(self)
                return
            self.carry_out(order)

    def sendall(self, data: bytes) -> None:
        """Send reports to the supervisor; see `Outlet`."""
        if self.alive:
            for part in in_reads(data):
                self.driver.post(self._world.loop, self._channel.data_received, part)

    def kill(self) -> None:
        """As by SIGKILL."""
        self._channel.kill()

    def end(self) -> None:
        """It is dead from now on."""
        if self.alive:
            self.alive = False
            self.driver.bury(self.loop)
            self._shared_marks.close()
            self._world.forget_runtime(self._runtime)

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        """See `Host`."""
        super().ended(actor, outcome)
        if isinstance(actor, TurnActor):
            self._own_reports.unwatch(actor)

    def _begin_next(self) -> None:
        if self.alive:
            super()._begin_next()

    def _new_slots(self, limit: int, lane: Lane) -> InlineSlots:
        return InlineSlots(limit, self._channel.tokens[lane], self._perform, self.driver, self.loop)

    def _make_run_slots(self) -> InlineSlots:
        return self._new_slots(self._run_limit, Lane.RUN)

    def _perform(self, assignment: Assignment) -> None:
        self._actor_for(assignment)._start_actor_loop()

    def _event_loop(self) -> VirtualLoop:
        return self.loop

    def _start_thread(self, work: Callable[[], None]) -> None:
        self.driver.post(self.loop, self.driver.relay.run, work)

    def _new_future(self) -> Future[Any]:
        return TimedFuture(self.clock)

    def runtime(self) -> Runtime:
        """See `Host`."""
        if self._runtime is None:
            self._runtime = self._world.new_runtime(self.loop)
        return self._runtime


class _Reports(ReportBuffer):
    """Sends what has gathered in the next round of the worker's loop."""

    def __init__(self, worker: InlineWorker, attempts: dict[bytes, Any]) -> None:
        self._worker = worker
        super().__init__(worker, attempts=attempts, clock=worker.clock)

    def _begin(self) -> Signal:
        self._looking: asyncio.TimerHandle | None = None
        return _Soon(self._worker.driver, self._worker.loop, self.flush)

    def watch(self, attempt: Watched) -> None:
        """See `ReportBuffer`."""
        self._watched.add(attempt)
        self._worker.loop.call_soon_threadsafe(self._look_later)

    def unwatch(self, attempt: object) -> None:
        """An attempt has ended."""
        self._watched = {each for each in self._watched if each is not attempt}
        if not self._watched:
            self._worker.loop.call_soon_threadsafe(self._look_later)

    def _look_later(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._watched:
            self._looking = self._worker.loop.call_later(LINGER, self._look_now)

    def _look_now(self) -> None:
        self._looking = None
        self._look()
        self._look_later()


class _Soon:
    """A signal that has something called soon."""

    def __init__(self, driver: Driver, loop: VirtualLoop, call: Callable[[], None]) -> None:
        self._driver = driver
        self._loop = loop
        self._call = call
        self._said = False

    def is_set(self) -> bool:
        """See `Signal`."""
        return self._said

    def set(self) -> None:
        """See `Signal`."""
        if not self._said:
            self._said = True
            self._driver.post(self._loop, self._now)

    def _now(self) -> None:
        self._said = False
        self._call()


class RunnerExecutor(ThreadPoolExecutor):
    """Makes the blocking calls of async tasks in runners. asyncio takes no other kind of executor."""

    def __init__(self, driver: Driver, loop: VirtualLoop) -> None:
        super().__init__(1)
        self._driver = driver
        self._loop = loop

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        future: Future[Any] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                value = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - as the base class has it: the caller gets it
                future.set_exception(error)
            else:
                future.set_result(value)

        self._driver.post(self._loop, self._driver.relay.run, work)
        return future

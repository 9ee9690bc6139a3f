"""VirtualClock: the time of an `InlineRuntime`. It passes by `advance`, and while a call with a timeout waits."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from ...actors.checks import check_seconds
from ...actors.clock import ThreadWakeup, Wakeup
from .relay import Runner, runner_here
from .virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from .driver import Driver

#: Bits of the count in an id that stand behind its variant.
_LOW_BITS: Final = 30


class VirtualClock:
    """`rt.clock` of an `InlineRuntime`."""

    can_be_set = False
    #: Of all clocks of one runtime. None outlives it.
    origin = "virtual"

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __repr__(self) -> str:
        return f"<VirtualClock at {self.time():.3f}>"

    def time(self) -> float:
        """Seconds since the epoch, as the runtime sees it."""
        return self._driver.epoch + self._driver.now

    def monotonic(self) -> float:
        """Seconds since a point before the start of the runtime."""
        return self._driver.now

    def new_id(self) -> bytes:
        """See `Clock`: a UUIDv7 of this time. A count in the place of random bits gives ids of one time their order."""
        count = self._driver.next_count()
        parts = (
            (int(self.time() * 1000), 48),
            (7, 4),
            (count >> _LOW_BITS, 12),
            (2, 2),
            (count & ((1 << _LOW_BITS) - 1), _LOW_BITS),
            (secrets.randbits(32), 32),
        )
        number = 0
        for part, bits in parts:
            number = number << bits | part
        return number.to_bytes(16, "big")

    def advance(self, seconds: float) -> None:
        """Let so much time pass. Everything that becomes due runs, in the order of time, each at its own time."""
        self._driver.advance(check_seconds("seconds", seconds))


class LoopClock(VirtualClock):
    """The same time for what belongs to one event loop: a worker, or the program itself. Implements `Clock`."""

    def __init__(self, driver: Driver, loop: VirtualLoop) -> None:
        super().__init__(driver)
        self._loop = loop

    def wakeup(self) -> Wakeup:
        """See `Clock`."""
        return ThreadWakeup() if runner_here() is None else RunnerWakeup(self, self._loop)

    def wait(self, future: Future[Any], seconds: float | None) -> bool:
        """See `Clock`."""
        if future.done():
            return True
        if runner_here() is None:
            return self._driver.wait(future, seconds)
        wakeup = self.wakeup()
        Future.add_done_callback(future, lambda _: wakeup.ring())
        wakeup.wait(seconds)
        return future.done()


class RunnerWakeup:
    """The wakeup of a runner: while it waits, others run."""

    __slots__ = ("_clock", "_loop", "_rung", "_runner", "_timer")

    def __init__(self, clock: LoopClock, loop: VirtualLoop) -> None:
        self._clock = clock
        self._loop = loop
        self._rung = False
        #: The runner that waits, until it is about to be resumed.
        self._runner: Runner | None = None
        self._timer: asyncio.TimerHandle | None = None

    def ring(self) -> None:
        """See `Wakeup`."""
        self._rung = True
        self._loop.call_soon_threadsafe(self._resume)

    def wait(self, timeout: float | None = None) -> bool:
        """See `Wakeup`."""
        if not self._rung and (timeout is None or timeout > 0):
            self._runner = runner_here()
            assert self._runner is not None
            if timeout is not None:
                self._loop.call_soon_threadsafe(self._arm, self._clock.monotonic() + timeout)
            self._runner.pause()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        rung, self._rung = self._rung, False
        return rung

    def _arm(self, when: float) -> None:
        if self._runner is not None:
            self._timer = self._loop.call_at(when, self._resume)

    def _resume(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.relay.resume(runner)

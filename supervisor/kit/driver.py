"""Driver: it runs the event loops of an `InlineRuntime` in the thread of the test, and lets virtual time pass."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context
from typing import Any, Final, TypeVar

from ...actors.errors import NotInTask, Stalled
from .crash_plan import Crash, CrashPlan, driving
from .relay import Relay, Stuck, runner_here
from .virtual_loop import VirtualLoop

T = TypeVar("T")

#: The virtual time at the start of a runtime, by its monotonic clock.
START: Final = 1_000.0
#: Seconds by which a timer may come early: times since the epoch are that coarse.
SLACK: Final = 1e-5


class Driver:
    """Runs whatever can run, one thing at a time, until nothing is left to do at this time."""

    def __init__(self, epoch: float, patience: float) -> None:
        """`epoch`: the time at the start, in seconds since the epoch. `patience` is that of the relay."""
        self.now = START
        self.epoch = epoch - START
        #: The next number of an id.
        self.next_count = itertools.count().__next__
        self.crashes = CrashPlan()
        self.relay = Relay(patience, self.crashes)
        self.relay.on_crash = _crash
        #: Those of the program, the supervisor and the workers that are alive, in this order.
        self.loops: list[VirtualLoop] = []
        #: Loops that were buried since the driver last looked.
        self._buried: list[VirtualLoop] = []
        #: Loops of the dead that have coroutines, which must not go on before the end.
        self._dead: list[VirtualLoop] = []
        #: Called when nothing is left to do; whether it has found something.
        self.on_quiet: Callable[[], bool] = lambda: False
        #: Called when a crash point was reached in this loop.
        self.on_crash: Callable[[VirtualLoop], None] = lambda _: None
        #: Says what waits, and when the next of it goes on.
        self.describe: Callable[[], str] = str
        self._driving = threading.RLock()
        self._driver_thread = 0
        #: The error after which nothing is known of the state any more.
        self._broken: Stalled | None = None
        self.closed = False

    def new_loop(self) -> VirtualLoop:
        """A loop that is driven from now on."""
        loop = VirtualLoop(lambda: self.now)
        self.loops.append(loop)
        return loop

    def bury(self, loop: VirtualLoop) -> None:
        """A loop that is not driven any more."""
        if loop in self.loops:
            self.loops.remove(loop)
            self._buried.append(loop)

    def post(self, loop: VirtualLoop, callback: Callable[..., object], *args: Any) -> None:
        """Have the loop call this, in a context of its own."""
        loop.call_soon_threadsafe(callback, *args, context=Context())

    def call(self, loop: VirtualLoop, function: Callable[[], T]) -> T:
        """The value of a function of the test that needs to run inside this loop."""
        return self.drive(lambda: self.call_inside(loop, function))

    def call_inside(self, loop: VirtualLoop, function: Callable[[], T]) -> T:
        """As `call`, where the loops are driven or changed already."""
        made: Future[T] = Future()

        def run() -> None:
            try:
                made.set_result(function())
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                made.set_exception(error)

        self.post(loop, run)
        while not made.done():
            loop.run_round()
        return made.result()

    # --- running ---

    def settle(self) -> None:
        """Run until nothing is left to do at this time."""
        self.drive(self._settle)

    def settle_if_outside(self) -> None:
        """As `settle`, but nothing in code that the driver runs."""
        if runner_here() is None and self._driver_thread != threading.get_ident() and not self.closed:
            self.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.drive(lambda: self._advance(self.now + seconds))

    def wait(self, future: Future[Any], seconds: float | None) -> bool:
        """Run until the future is done. If that takes time, up to so many seconds of it pass.

        Stalled if no limit is given and the future is not done when nothing is left to do.
        """

        def wait() -> bool:
            end = None if seconds is None else self.now + max(seconds, 0.0)
            self._settle()
            while not future.done():
                due = self._next_due()
                if end is None:
                    raise Stalled(
                        f"this call would wait for ever: nothing goes on before the clock does. {self.describe()}"
                    )
                if due is None or due > end + SLACK:
                    self._advance(end)
                    return future.done()
                self.now = max(self.now, due)
                self._settle()
            return True

        return self.drive(wait)

    def drive(self, function: Callable[[], T]) -> T:
        """The value of a function of the test that drives or changes the loops."""
        if runner_here() is not None or self._driver_thread == threading.get_ident():
            raise NotInTask(
                "this would block the event loop of an async task: use its twin in understudy.aio. The clock and "
                "crashes are for the test, not for tasks"
            )
        return _outside(lambda: self._drive_here(function))

    def _drive_here(self, function: Callable[[], T]) -> T:
        with self._driving:
            if self._broken is not None:
                raise self._broken
            before, self._driver_thread = self._driver_thread, threading.get_ident()
            driving.plan = self.crashes
            try:
                return function()
            finally:
                self._driver_thread = before
                driving.plan = None

    def _settle(self) -> None:
        while self._run_all() or self.on_quiet():
            pass
        while self._buried:
            loop = self._buried.pop()
            if asyncio.all_tasks(loop):
                self._dead.append(loop)
            else:
                loop.close()  # it has descriptors, and a test may crash a thousand times

    def _run_all(self) -> bool:
        """Run every loop until none has anything to do; whether there was anything."""
        ran = False
        again = True
        while again:
            again = False
            for loop in list(self.loops):
                if loop.has_work and loop in self.loops:
                    again = ran = True
                    self._run_round(loop)
        return ran

    def _run_round(self, loop: VirtualLoop) -> None:
        try:
            loop.run_round()
        except Crash:
            self.on_crash(loop)
        except Stuck as stuck:
            self._broken = stuck.error
            raise stuck.error from None

    def _advance(self, end: float) -> None:
        self._settle()
        while (due := self._next_due()) is not None and due <= end + SLACK:
            self.now = max(self.now, due)
            self._settle()
        self.now = max(self.now, end)
        self._settle()

    def _next_due(self) -> float | None:
        return min((due for loop in self.loops if (due := loop.next_due) is not None), default=None)

    @property
    def next_in(self) -> float | None:
        """Seconds to the next timer; None if there is none."""
        due = self._next_due()
        return None if due is None else max(0.0, due - self.now)

    def close(self) -> None:
        """End all code that still runs, and close the loops."""
        self.closed = True
        self._broken = Stalled("this runtime was closed")
        _outside(self._close_all)

    def _close_all(self) -> None:
        self.relay.close()
        for loops in (self.loops, self._buried, self._dead):
            for loop in loops:
                _close(loop)
            loops.clear()


def _outside(function: Callable[[], T]) -> T:
    """The value of a function that runs event loops. In an async test the thread has a running loop already."""
    if asyncio._get_running_loop() is None:
        return function()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it belongs to the caller
            outcome.set_exception(error)

    thread = threading.Thread(target=run, name="understudy-driver", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()


def _crash() -> None:
    raise Crash


def _close(loop: VirtualLoop) -> None:
    """Close a loop with what runs on it."""
    # What the code of the dead raises is of no interest.
    loop.set_exception_handler(lambda _loop, _context: None)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    for _ in range(100):
        if not loop.has_work:
            break
        loop.run_round()
    loop.close()

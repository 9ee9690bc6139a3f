"""Relay: threads of which one runs at a time.

Sync code needs a thread, because it waits in the middle of its work. Such a thread is a *runner*. It runs from where an
event loop starts or resumes it to its next wait or its end, while the thread of that loop stands still.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, NoReturn

from ...actors.errors import Stalled

if TYPE_CHECKING:
    from .crash_plan import CrashPlan

log = logging.getLogger("understudy")

#: Seconds of real time that `close` gives the code of a runner to end.
END_WITHIN = 1.0


class Gone(BaseException):
    """The worker of this code is dead; raised in it when the runtime is closed, so that its thread ends."""


class Stuck(SystemExit):
    """Raised to leave an event loop: code does not get to its next wait."""

    def __init__(self, error: Stalled) -> None:
        super().__init__()
        self.error = error


class Runner(threading.Thread):
    """One thread. It belongs to a relay."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(name="understudy-runner", daemon=True)
        self.relay = relay
        self.work: Callable[[], None] | None = None
        #: Whether it is to end instead of going on.
        self.over = False
        self._go = threading.Semaphore(0)

    def run(self) -> None:
        """Do one piece of work after another."""
        _here.runner = self
        while not self.over and self._await_go():
            assert self.work is not None
            try:
                Context().run(self.work)
            except Gone:
                return
            except BaseException:
                log.exception("a runner has failed")
            self.work = None
            self.relay.rests(self)

    def _await_go(self) -> bool:
        self._go.acquire()
        return not self.over

    def go(self) -> None:
        """Let it run."""
        self._go.release()

    def pause(self) -> None:
        """Called in it: stand still until it is resumed."""
        if self.over:
            raise Gone
        self.relay.give_back()
        if not self._await_go():
            raise Gone


class _Here(threading.local):
    runner: Runner | None = None


_here = _Here()


def runner_here() -> Runner | None:
    """The runner that calls this; None in any other thread."""
    return _here.runner


class Relay:
    """The runners of one runtime."""

    def __init__(self, patience: float, crashes: CrashPlan) -> None:
        """`patience`: seconds of real time that a runner may take up to its next wait."""
        self._patience = patience
        self.crashes = crashes
        #: Whether the runner that stands still has died at a crash point.
        self.crashed = False
        self._closed = False
        self._back = threading.Semaphore(0)
        self._resting: list[Runner] = []
        self._all: list[Runner] = []
        #: Called when the runner that was resumed has died at a crash point.
        self.on_crash: Callable[[], None] = lambda: None

    def run(self, work: Callable[[], None]) -> None:
        """Run this up to its first wait or its end; nothing after `close`."""
        if self._closed:
            return
        if self._resting:
            runner = self._resting.pop()
        else:
            runner = Runner(self)
            self._all.append(runner)
            Context().run(runner.start)
        runner.work = work
        self.resume(runner)

    def resume(self, runner: Runner) -> None:
        """Let a runner go on up to its next wait or its end. Stuck if that takes too long."""
        if self._closed:
            return
        runner.go()
        if not self._back.acquire(timeout=self._patience):
            raise Stuck(_error(runner, self._patience))
        if self.crashed:
            self.crashed = False
            self.on_crash()

    def rests(self, runner: Runner) -> None:
        """Called by a runner that has done its work."""
        self._resting.append(runner)
        self.give_back()

    def give_back(self) -> None:
        """Called by a runner that stands still from now on."""
        self._back.release()

    def close(self) -> None:
        """End all runners. Code that still waits gets Gone."""
        self._closed = True
        for runner in self._all:
            runner.over = True
            runner.go()
            # One after the other, as ever.
            runner.join(END_WITHIN)


def never_again() -> NoReturn:
    """Called in a runner: stand still until its runtime is closed, as if its process had been killed here."""
    runner = runner_here()
    assert runner is not None
    while True:
        runner.pause()


def _error(runner: Runner, patience: float) -> Stalled:
    frame = sys._current_frames().get(runner.ident or 0)
    stack = "" if frame is None else "".join(traceback.format_stack(frame, limit=10)[-10:])
    return Stalled(
        f"the code of a task has run for {patience:g} s of real time without a wait that this runtime knows: an "
        "InlineRuntime runs one thing at a time, so code that waits for another task by other means (a lock, a queue, "
        f"an event) waits for ever. It stands here:\n{stack}"
    )

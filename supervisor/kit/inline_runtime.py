"""InlineRuntime: supervisor and workers in this process, on a store in memory and a virtual clock."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from ...actors.attempt.host import printable
from ...actors.checks import check_seconds, check_whole
from ...actors.clock import SYSTEM
from ...actors.errors import NotInline, Stalled
from ...actors.ids import id_text
from ...actors.task.handles import IdLike, id_of
from ...actors.tracing.tracer import tracing
from ...storage.memory_store import MemoryRows, MemoryView
from ...storage.reader import Reader
from ..client.runtime import Runtime
from ..client.start_queue import StartQueue
from ..client.start_rows import StreamLike
from ..client.watch import Watch
from ..home import Home
from ..settings import Settings
from .crash_plan import Crash
from .driver import Driver
from .inline_client import InlineClient
from .virtual_clock import VirtualClock
from .virtual_loop import VirtualLoop
from .world import World

#: Seconds of real time that the code of a task may take up to its next wait.
PATIENCE: Final = 30.0
#: Tasks that an error names.
NAMED: Final = 5

T = TypeVar("T")

_numbers: Final = itertools.count(1)


class InlineRuntime(Runtime):
    """A `Runtime` for unit tests: tasks and actors run in this process, and one thing runs at a time.

    Guarantees:

    * What can run has run when a call returns that waits or reads. It runs in the order in which it was asked for.
    * Time passes only by `clock.advance`, and while a call with a timeout waits. Everything that becomes due meanwhile
      runs at its own time: timeouts, retries, delays, `sleep`, passivation, reminders.
    * A call that could only be ended by the clock, and has no timeout, raises Stalled.
    * What is not committed is lost in a `crash`, and what is committed is not.

    Tasks, actors, messages and results take the way that they take between processes, encoded and decoded. What needs a
    process of its own raises NotInline, or is described in docs/testing.md.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        slots: int = 8,
        now: float | None = None,
        patience: float = PATIENCE,
        call_timeout: float | None = None,
        **settings: Any,
    ) -> None:
        """`now`: the time at the start, in seconds since the epoch; by default the real one.

        `patience`: seconds of real time that the code of a task may take up to its next wait. `settings` are the
        fields of `Settings`.
        """
        checked = Settings.of({"workers": workers, "slots": slots, **settings})
        if checked.pool_env:
            raise NotInline("all workers of an InlineRuntime share one environment: leave pool_env out")
        self._set_call_timeout(call_timeout)
        epoch = SYSTEM.time() if now is None else check_seconds("now", now)
        self._driver = driver = Driver(epoch, check_seconds("patience", patience, positive=True))
        self._settings = checked
        self._rows = MemoryRows()
        self._path = Path(tempfile.gettempdir()) / f"understudy-inline-{os.getpid()}-{next(_numbers)}"
        #: The time, which a test lets pass.
        self.clock = VirtualClock(driver)
        driver.on_quiet = self._quiet
        driver.on_crash = self._crashed
        driver.describe = self._describe
        loop = driver.new_loop()
        self._world = driver.drive(self._new_world)
        client = self._new_client(loop)
        view = MemoryView(self._rows, driver.settle_if_outside)
        self._attach(client, Reader(self._path, view))
        client.connect_now()
        if checked.traces:
            from ...actors.tracing.otel import trace_starts

            trace_starts()

    @classmethod
    def connect(cls, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise NotInline("nothing can connect to an InlineRuntime: use the one that the test has made")

    # --- what a test does ---

    def settle(self) -> None:
        """Run everything that can run at this time."""
        self._driver.settle()

    def crash(self) -> None:
        """Kill the supervisor and all workers, as by SIGKILL, and start a supervisor on what was committed.

        The code of tasks does not go on, and its `finally` blocks do not run (before `close`).
        """
        self._driver.drive(self._restart)

    def crash_at(self, point: str, nth: int = 1) -> None:
        """Let the process that is at a crash point die there, at the nth time from now on.

        `point` is "commit.before", "commit.after" and so on; see docs/testing.md. At a point of a worker that worker
        dies, at one of the supervisor everything.
        """
        check_whole("nth", nth, 1)
        self._driver.crashes.add(point, nth)

    def kill_worker(self, of: IdLike) -> None:
        """Kill the worker that runs a task, or has an actor in memory. LookupError if none does."""
        key = id_of(of)

        def kill() -> None:
            task = self._world.core.table.find(key)
            attempt = None if task is None else task.attempt
            seat = getattr(task, "seat", None) if attempt is None else attempt.seat
            if seat is None:
                raise LookupError(f"no worker has task {id_text(key)}")
            seat.channel.kill()

        self._driver.settle()
        self._driver.call(self._world.loop, kill)

    def wait_until(self, condition: Callable[[], T], timeout: float = 10.0) -> T:
        """Let up to `timeout` seconds pass until `condition()` is true; its value. TimeoutError if it does not."""
        end = self.clock.monotonic() + timeout
        while not (value := condition()):
            left = end - self.clock.monotonic()
            if left <= 0:
                raise TimeoutError(f"the condition has not become true within {timeout:g} s")
            due = self._driver.next_in
            self.clock.advance(left if due is None else min(due, left))
        return value

    # --- crashes ---

    def _quiet(self) -> bool:
        return self._world.settle()

    def _new_world(self) -> World:
        return World(self._driver, self._rows, self._settings, self._path, self._new_worker_runtime)

    def _restart(self) -> None:
        old = self._world
        old.die()
        while True:
            with suppress(Crash):
                self._world = self._new_world()
                break
        # They connect again at once.
        old.cut()

    def _crashed(self, loop: VirtualLoop) -> None:
        """A crash point was reached in this loop."""
        worker = next((each for each in self._world.workers.values() if each.loop is loop), None)
        if worker is None:
            self._restart()
        else:
            worker.kill()

    # --- clients ---

    def _new_client(self, loop: VirtualLoop) -> InlineClient:
        return InlineClient(self._driver, loop, Home(self._path), self._settings, lambda: self._world)

    def _new_worker_runtime(self, loop: VirtualLoop) -> Runtime:
        """The runtime of a worker."""
        runtime = _WorkerRuntime.__new__(_WorkerRuntime)
        runtime._set_call_timeout(None)
        runtime._attach(self._new_client(loop), Reader(self._path, MemoryView(self._rows)))
        return runtime

    # --- what an inline runtime has not ---

    def _start_queue(self, on_over: Callable[[], None]) -> StartQueue:
        raise NotInline("an Executor needs threads of its own: test it with a Runtime")

    def watch(
        self, *, stream: StreamLike | None = None, task: IdLike | None = None, after: str | None = None
    ) -> Watch:
        """See `Runtime.watch`. Time passes only while `next(timeout)` waits; without a timeout it raises Stalled."""
        return Watch(self._calls.store, stream, task, after, self._client.clock, self._pause)

    def _pause(self, seconds: float | None) -> None:
        """Let time pass to the next thing that becomes due, at most so many seconds."""
        if seconds is None:
            raise Stalled(
                f"this watch would wait for ever: nothing goes on before the clock does. {self._describe()}"
            )
        due = self._driver.next_in
        self.clock.advance(seconds if due is None else min(due, seconds))

    def subscribe(self, **_: Any) -> NoReturn:
        """Refused."""
        raise NotInline("an InlineRuntime has no subscriptions: test them with a Runtime")

    def stack(self, *_: Any, **__: Any) -> NoReturn:
        """Refused."""
        raise NotInline("the tasks of an InlineRuntime have no worker process: take the stack of this one")

    def stop_supervisor(self, **_: Any) -> NoReturn:
        """Refused."""
        raise NotInline("an InlineRuntime has no supervisor to stop: use crash() or close()")

    # --- the end ---

    def _describe(self) -> str:
        """What waits, and when the next of it goes on."""
        table = self._world.core.table
        live = list(table.tasks.values())
        waiting = [
            f"{printable(task.record.name, 200)} ({id_text(task.id)}, {task.record.state})"
            for task in live[:NAMED]
            if task.record.actor is None
        ]
        more = f" and {len(live) - NAMED} more" if len(live) > NAMED else ""
        what = f"Waiting: {', '.join(waiting)}{more}. " if waiting else ""
        due = self._driver.next_in
        if due is None:
            return f"{what}Nothing will become due: send a message, or cancel"
        return f"{what}Something becomes due in {due:g} s: use clock.advance({due:g}), or give the call a timeout"

    def close(self, *args: Any, **kwargs: Any) -> None:
        """See `Runtime.close`. Tasks that still run are interrupted; code that does not let go is abandoned."""
        if args or kwargs:
            super().close(*args, **kwargs)
            return
        if self._client.closed:
            return
        self._driver.crashes.clear()
        with suppress(Exception):
            self._driver.call(self._world.loop, self._world.pool.interrupt_all)
            self._driver.settle()
        self._world.die()
        super().close()
        self._driver.close()
        if self._settings.traces:
            tracing.tracer = None
        shutil.rmtree(self._path, ignore_errors=True)


class _WorkerRuntime(Runtime):
    """The runtime of an inline worker."""

    def subscribe(self, **_: Any) -> NoReturn:
        """Refused."""
        raise NotInline("an InlineRuntime has no subscriptions: test them with a Runtime")

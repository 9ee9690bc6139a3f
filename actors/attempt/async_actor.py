"""The actor that runs one attempt at an async task, on the event loop of a worker process.

Differences from the sync actor:

1. A cancel or a timeout reaches the code twice. It raises CancelledError at the current `await`, or at the
   first one if the code has not begun. It is also the message at the front of the mailbox. Each comes once,
   even if a cancel follows a timeout.
2. Several asyncio tasks of one task may receive, sleep and wait at the same time, and its helper threads may wait
   for results. The actor counts as waiting from the start of the first wait to the end of the last.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any

from .. import values
from ..errors import Interrupted, NotInTask
from ..task.declaration import Task
from ..timeouts import check_timeout, deadline_of, left_of
from ..tracing.tracer import begin, tracing
from .actor import NOTHING, TaskActor, current_actor
from .host import Assignment, Host, Outcome
from .open_resource import CLOSE_WITHIN
from .steps import StepCall


class AsyncTaskActor(TaskActor):
    """Runs an async task; `_actor_loop` must be called on the event loop's thread."""

    _coroutine: asyncio.Task[None] | None = None
    _begun = False
    _thrown = False
    """Whether CancelledError has been requested, delivered or not."""
    _waits = 0
    _sleep_refused = False
    """Whether a `sleep` has returned False."""

    def __init__(
        self, assignment: Assignment, task: Task[..., Any], host: Host, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(assignment, task, host)
        self.loop = loop

    def _start_actor_loop(self) -> None:
        self.loop.call_soon_threadsafe(self._actor_loop)

    def _actor_loop_running(self) -> None:
        # The inbox gives the PERFORM envelope; the task's code then runs as a coroutine.
        self.on_receive(self.inbox.get().message)

    def _actor_loop_teardown(self) -> None:
        # The task's code has only begun; `_perform_async` ends the actor.
        return

    def on_receive(self, message: Any) -> None:
        self._coroutine = self.loop.create_task(self._perform_async())

    def _signalled(self) -> None:
        self._on_loop(self._throw_and_wake)

    def _throw_and_wake(self) -> None:
        # The order matters: if the wait were woken first, it would return the message, and the error would
        # break into the code after it.
        self._throw()
        self.inbox.wake()

    def _throw(self) -> None:
        # A coroutine cancelled before its first step never runs, and the host would never learn of its end.
        if self._begun and not self._thrown and self._coroutine is not None:
            self._thrown = True
            self._coroutine.cancel()

    async def _perform_async(self) -> None:
        self.started = self.host.clock.time()
        self.own_thread = get_ident()
        if self.assignment.tree is not None:
            self.host.ready(self, False)
        # A coroutine has its own context, so nothing has to be reset.
        current_actor.set(self)
        self._coroutine = asyncio.current_task()  # with an eager task factory on_receive has not set it yet
        self._begun = True
        span = None if tracing.tracer is None or self.assignment.turn is not None else begin(self.assignment)
        if self.signal is not None:
            self._throw()
        try:
            value = await self._called()
            outcome = self._completed(value)
        except BaseException as error:  # noqa: BLE001 - any error ends the task, never the event loop
            outcome = self._broken_off(error)
        if span is not None:
            span.end(outcome)
        self._coroutine = None  # from now on _throw does nothing
        if self.resources:
            await self._put_away_async(outcome)
        self._finish(outcome)
        super()._actor_loop_teardown()

    def _called(self) -> Any:
        """Call the task's function. It is a method so that no waiting frame keeps the arguments."""
        assert self.task.body is not None
        args, kwargs = self._arguments()
        return self.task.body(*args, **kwargs)

    async def _put_away_async(self, outcome: Outcome) -> None:
        """As `_put_away`."""
        self._close_resources(outcome)
        for _ in range(2):
            try:
                await self._wait_async(CLOSE_WITHIN, lambda: not self.resources)
                break
            except asyncio.CancelledError:
                # It was requested just as the task's code ended. There is nothing to stop.
                continue
        self._drop_resources()

    def check_stop(self, shield: bool = False) -> None:
        """Interrupted on a drain. A cancel or timeout needs no check: it raises CancelledError."""
        if self.interrupted:
            raise Interrupted

    def stop_pending(self, shield: bool = False) -> bool:
        """Whether `check_stop` would raise."""
        return self.interrupted

    def look_for_stop(self) -> bool:
        """Whether the task has been asked to stop. CancelledError tells the code, whether it looks or not."""
        return self.signal is not None

    def _knows(self) -> bool:
        return self._signal_read

    def _signal_message(self) -> Any:
        """As in a sync task, but no error follows it."""
        if self._signal_read:
            return None
        self._signal_read = True
        return self._stop_message()

    def _something_to_receive(self, shield: bool = False) -> bool:
        return super()._something_to_receive(shield) or (not shield and self.signal_unread())

    async def receive_async(self, timeout: float | None = None, shield: bool = False) -> Any:
        """As `_receive`: the next message, or CLOSED. The caller turns CLOSED into None: another coroutine
        around this one would take memory as long as the wait."""
        self._acknowledge_taken()
        seconds = check_timeout(timeout)
        clock = self.host.clock
        deadline = deadline_of(seconds, clock)
        while (message := self._next(shield)) is NOTHING:
            self._tell_taken()
            # Another asyncio task of this task may take the message first; then this one waits again.
            if not await self._wait_async(
                left_of(deadline, clock), lambda: self._something_to_receive(shield)
            ):
                raise TimeoutError(f"no message within {seconds:g} s")
        return message

    async def sleep_async(self, seconds: float, shield: bool = False) -> bool:
        """As `sleep`, with CancelledError in place of Cancelled."""
        asked = self._asked(shield)
        await self._wait_async(
            0 if asked else check_timeout(seconds, "sleep"),
            lambda: self.interrupted or (not asked and self._asked(shield)),
        )
        if self.interrupted:
            raise Interrupted
        if not self._asked(shield):
            return True
        if self._sleep_refused:
            raise asyncio.CancelledError
        self._sleep_refused = True
        return False

    async def checkpoint_async(self, value: Any, send: Any = (), publish: Any = (), emit: Any = ()) -> bool:
        """As `checkpoint`."""
        future, received = self._ask_checkpoint(value, send, publish, emit)
        # A callback notes it, because a CancelledError may arrive while the state is being written.
        future.add_done_callback(lambda done: self._stored(received if _succeeded(done) else 0))
        await _answer(future)
        return self._checkpointed()

    async def restore_async(self) -> Any:
        """As `restore`."""
        self._guard_state()
        packed = await _answer(self._ask_restore())
        return None if packed is None else values.unpack(packed)

    async def do_step_async(self, call: StepCall, function: Callable[[], Awaitable[Any]]) -> Any:
        """As `do_step`."""
        while call.stored is None and (missing := call.missing()) is not None:
            call.take(await _answer(missing))
        if call.stored is not None:
            return call.decoded(call.stored)
        with call.under_way():
            packed = call.packed(await self._run_step(call, function))
            await _answer(call.keep(packed))
        self._checkpointed()
        return call.decoded(packed)

    async def _run_step(self, call: StepCall, function: Callable[[], Awaitable[Any]]) -> Any:
        tries = 1
        while True:
            try:
                return await function()
            except Exception as error:
                pause = call.pause_after(error, tries)
                if pause is None:
                    raise
                tries += 1
                if not await self.sleep_async(pause):
                    raise asyncio.CancelledError from error

    async def wait_future_async(
        self,
        future: Future[Any],
        timeout: float | None,
    ) -> bool:
        """As `wait_future`."""
        # As the base class does it: a future of a runtime would have another thread call this.
        Future.add_done_callback(future, lambda _: self.inbox.wake())
        done = await self._wait_async(timeout, lambda: future.done() or self.interrupted)
        if self.interrupted and not future.done():
            raise Interrupted
        return done

    def wait_future(self, future: Future[Any], timeout: float | None) -> bool:
        """Wait on another thread of this task (`asyncio.to_thread`); NotInTask on the event loop's thread."""
        if asyncio._get_running_loop() is self.loop:
            raise NotInTask(
                "this would block the event loop of an async task: use its twin in understudy.aio"
            )
        with self.waiting_in_thread():
            self.host.clock.wait(future, timeout)
        return future.done()

    @contextmanager
    def waiting_in_thread(self) -> Iterator[None]:
        """The calling thread waits meanwhile. It is counted on the loop: while the loop works, the task does."""
        self._on_loop(self._wait_begins)
        try:
            yield
        finally:
            self._on_loop(self._wait_ends)

    async def _wait_async(self, timeout: float | None, ready: Callable[[], bool]) -> bool:
        if ready():
            return True
        if timeout is not None and timeout <= 0:
            await asyncio.sleep(0)  # a task that polls must let other tasks run
            return ready()
        waiter = Waiter(self)
        ring = waiter.ring
        timer = None if timeout is None else self.loop.call_later(timeout, waiter.expire)
        self.inbox.listen(ring)
        self._wait_begins()
        try:
            while not ready():
                if waiter.expired:
                    return False
                await waiter.next_ring()
            return True
        finally:
            if timer is not None:
                timer.cancel()
            self.inbox.unlisten(ring)
            self._wait_ends()

    def _wait_begins(self) -> None:
        self._waits += 1
        if self._waits == 1:
            self.parks()

    def _wait_ends(self) -> None:
        self._waits -= 1
        if self._waits == 0:
            self.goes_on()

    def _on_loop(self, call: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # The loop is closed, so no wait is left.
            self.loop.call_soon_threadsafe(call)


class Waiter:
    """Wakes one wait of an async actor, from any thread. A ring ends only a wait that has already begun. So
    the waiting code checks its condition and then waits, with no `await` in between."""

    __slots__ = ("_actor", "_ring", "expired")

    def __init__(self, actor: AsyncTaskActor) -> None:
        self._actor = actor
        self._ring: asyncio.Future[None] | None = None
        #: Whether the wait's timeout has run out.
        self.expired = False

    def ring(self) -> None:
        """Make the wait check its condition again. May be called from any thread."""
        self._actor._on_loop(self._wake)

    def expire(self) -> None:
        """End the wait, because its timeout has run out; called on the loop."""
        self.expired = True
        self._wake()

    def next_ring(self) -> asyncio.Future[None]:
        """A future that is done at the next ring."""
        self._ring = self._actor.loop.create_future()
        return self._ring

    def _wake(self) -> None:
        if self._ring is not None and not self._ring.done():
            self._ring.set_result(None)


async def _answer(future: Future[Any]) -> Any:
    """Await a host's answer. The shield keeps a cancelled wait from cancelling the host's future."""
    return await asyncio.shield(asyncio.wrap_future(future))


def _succeeded(future: Future[Any]) -> bool:
    return not future.cancelled() and future.exception() is None


async def _maybe(value: Any) -> Any:
    """The value, awaited if it is awaitable: hooks may be plain functions or coroutine functions."""
    return await value if inspect.isawaitable(value) else value

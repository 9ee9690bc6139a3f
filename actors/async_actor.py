"""The actor that performs an async task on its host's event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from . import values
from .actor import NOTHING, TaskActor, on_stage
from .errors import Interrupted
from .host import Assignment, Ending, Host, Outcome, error_outcome
from .task import Task


class AsyncTaskActor(TaskActor):
    """Performs an async task; `_actor_loop` must be called on the event loop's thread."""

    def __init__(
        self, assignment: Assignment, task: Task[..., Any], host: Host, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(assignment, task, host)
        self.loop = loop
        self._coroutine: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    def _start_actor_loop(self) -> None:
        self.loop.call_soon_threadsafe(self._actor_loop)

    def _actor_loop_running(self) -> None:
        # The inbox still gives the order to perform; the performance itself goes on as a coroutine.
        self.on_receive(self.inbox.get().message)

    def _actor_loop_teardown(self) -> None:
        # The performance has only begun; `_perform_async` ends the actor.
        return

    def on_receive(self, message: Any) -> None:
        self._coroutine = self.loop.create_task(self._perform_async())

    def stop_for(self, reason: str) -> None:
        super().stop_for(reason)
        self.loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._coroutine is not None:
            self._coroutine.cancel()

    async def _perform_async(self) -> None:
        self.started = time.time()
        # A coroutine has a context of its own, so nothing has to be reset.
        on_stage.set(self)
        try:
            args, kwargs = self._arguments()
            if self.task.is_class:
                value = await self._play_async(args, kwargs)
            else:
                value = await self.task.body(*args, **kwargs)  # type: ignore[misc]
            outcome = self._completed(value)
        except Interrupted:
            outcome = Outcome(Ending.INTERRUPTED)
        except BaseException as error:  # noqa: BLE001 - whatever it is ends the task, never the event loop
            outcome = error_outcome(error)
        self._over(outcome)

    async def _play_async(self, args: Any, kwargs: Any) -> Any:
        assert self.task.body is not None
        part = self.task.body(*args, **kwargs)
        if hasattr(part, "on_start"):
            await _maybe(part.on_start())
        while (message := await self.receive_async()) is not None and not self._signal_read:
            await part.on_receive(message)
        return await _maybe(part.on_stop()) if hasattr(part, "on_stop") else None

    async def receive_async(self, timeout: float | None = None) -> Any:
        """As `receive`."""
        self._acknowledge_taken()
        message = self._next()
        if message is not NOTHING:
            return message
        if not await self._wait_async(timeout, self._something_to_receive):
            raise TimeoutError(f"no message within {timeout} seconds")
        return self._next()

    async def sleep_async(self, seconds: float) -> bool:
        """As `sleep`."""
        await self._wait_async(seconds, self._something_wrong)
        if self.interrupted:
            raise Interrupted
        return self.signal is None

    async def checkpoint_async(self, value: Any, send: Any = ()) -> bool:
        """As `checkpoint`."""
        # Shielded: a cancel that arrives while the state is on its way to the disk does not leave it unknown.
        await asyncio.shield(asyncio.wrap_future(self._ask_checkpoint(value, send)))
        return self._checkpointed()

    async def restore_async(self) -> Any:
        """As `restore`."""
        self._guard_state()
        packed = await asyncio.wrap_future(self._ask_restore())
        return None if packed is None else values.unpack(packed)

    async def wait_future_async(self, future: Future[Any], timeout: float | None) -> bool:
        """As `wait_future`."""
        future.add_done_callback(lambda _: self.inbox.wake())
        done = await self._wait_async(timeout, lambda: future.done() or self.interrupted)
        if self.interrupted and not future.done():
            raise Interrupted
        return done

    async def _wait_async(self, timeout: float | None, ready: Callable[[], bool]) -> bool:
        if ready():
            return True
        self.inbox.ring = self._ring
        self.host.parked(self)
        try:
            async with asyncio.timeout(timeout):
                while True:
                    waiter = self._waiter = self.loop.create_future()
                    if ready():
                        return True
                    await waiter
        except TimeoutError:
            return ready()
        finally:
            self._waiter = None
            self.host.resumed(self)

    def _ring(self) -> None:
        self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def _maybe(value: Any) -> Any:
    """The value, awaited if it has to be: the hooks of an async actor class may be plain methods."""
    return await value if hasattr(value, "__await__") else value

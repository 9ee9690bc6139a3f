"""Calls in steps: each call of a client is written once, for threads and for asyncio.

A call is a generator. It sends requests, which never blocks, and yields each future that it must wait for. The
driver goes on with the call when that future is done. It closes the call when the caller's time is over or the
caller was cancelled; the call then gives up its requests in `finally`.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Generic, TypeVar

from ...actors.attempt.actor import TaskActor, running_actor
from ...actors.attempt.async_actor import AsyncTaskActor
from ...actors.clock import clock_of
from .deadline import Deadline

T = TypeVar("T")

Steps = Generator[Future[Any], None, T]
"""A call: the futures that it waits for, and its return value."""


def finish(steps: Steps[T], deadline: Deadline, late: Callable[[Deadline], Exception]) -> T:
    """Carry out a call in this thread. Raises `late(deadline)` when the time is over."""
    try:
        while True:
            if not is_done(next(steps), deadline.left()):
                raise late(deadline)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()


def finish_in_task(steps: Steps[T]) -> T:
    """Carry out a call in this thread. A sync task gives up its slot at each wait."""
    try:
        while True:
            is_done_in_task(next(steps), None)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()


async def finish_async(steps: Steps[T], deadline: Deadline, late: Callable[[Deadline], Exception]) -> T:
    """Carry out a call on the event loop. A cancel of the caller gives up the call."""
    try:
        while True:
            if not await is_done_async(next(steps), deadline.left()):
                raise late(deadline)
    except StopIteration as end:
        value: T = end.value
        return value
    finally:
        steps.close()


async def finish_in_threads(
    steps: Steps[T], deadline: Deadline, late: Callable[[Deadline], Exception], threads: Executor
) -> T:
    """As `finish_async`, for a call whose steps take long: they run in threads, the waits on the event loop."""
    call, context = _SharedCall(steps), contextvars.copy_context()
    try:
        while True:
            step = threads.submit(context.run, call.next)
            await is_done_async(step, None)
            future = step.result()
            if future is None:
                return call.value
            if not await is_done_async(future, deadline.left()):
                raise late(deadline)
    finally:
        call.close()


class _SharedCall(Generic[T]):
    """A call that may be closed while a thread carries out a step of it."""

    value: T

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._closed = False
        self._stepping = threading.Lock()

    def next(self) -> Future[Any] | None:
        """The next step; None after the last."""
        with self._stepping:
            try:
                future = None if self._closed else next(self._steps)
            except StopIteration as end:
                self.value = end.value
                future = None
        if self._closed:
            self.close()
        return future

    def close(self) -> None:
        """End the call, here or in the thread that is carrying out a step."""
        self._closed = True
        if self._stepping.acquire(blocking=False):
            try:
                self._steps.close()
            finally:
                self._stepping.release()


def is_done(future: Future[Any], seconds: float | None) -> bool:
    """Wait for the future; False if it is not done in time."""
    return clock_of(future).wait(future, seconds)


def is_done_in_task(future: Future[Any], seconds: float | None) -> bool:
    """As `is_done`, for the calls of users, who may be in a sync task: there it gives up the slot while it waits.

    Otherwise parents that wait would keep their children from running. Raises what `TaskActor.wait_future` raises.
    """
    actor = sync_task()
    if actor is not None:
        return actor.wait_future(future, seconds)
    with counted():
        return is_done(future, seconds)


def counted() -> AbstractContextManager[None]:
    """A wait of the current thread. In a thread of an async task it is one of the task."""
    actor = running_actor()
    return actor.waiting_in_thread() if isinstance(actor, AsyncTaskActor) else nullcontext()


def sync_task() -> TaskActor | None:
    """The sync task that the current thread runs, or None."""
    actor = running_actor()
    return None if isinstance(actor, AsyncTaskActor) else actor


async def is_done_async(future: Future[Any], seconds: float | None) -> bool:
    """As `is_done`, without a thread."""
    if future.done():
        return True
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wake(_done: Future[Any]) -> None:
        with suppress(RuntimeError):  # The loop is closed; nobody waits there any more.
            loop.call_soon_threadsafe(woken.set)

    future.add_done_callback(wake)
    try:
        # Not `wait_for`: before Python 3.12 it loses a cancel that comes just when the future is set.
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return future.done()
    return True

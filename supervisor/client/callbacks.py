"""Callbacks: the thread that runs what users add to the futures of a client, and those futures.

A user's code never runs on a thread that the client itself needs: not a callback, because it may ask the runtime
for something, and not the decoder of a registered type.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar, cast

from ...actors.attempt.helper_threads import start_outside
from ...actors.clock import SYSTEM, Clock, TimedFuture
from .steps import is_done_in_task

log = logging.getLogger("understudy")

#: Seconds that `close` waits for callbacks that have not ended.
CLOSE_WITHIN: Final = 5.0

T = TypeVar("T")

_Queue = queue.SimpleQueue[tuple[Callable[[Future[Any]], object], Future[Any]] | None]


class Callbacks:
    """One thread, which begins at the first callback and ends at `close`. It runs callbacks one after another."""

    #: The clock of its futures.
    clock: Clock = SYSTEM

    def __init__(self) -> None:
        self._queue: _Queue = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, callback: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        """Have the thread call `callback(future)`. After `close` it is called here."""
        with self._starting:
            closed = self._closed
            if not closed:
                self._queue.put((callback, future))
                if self._thread is None:
                    # It gets the queue alone, so that it does not keep the client alive.
                    self._thread = threading.Thread(
                        target=_work, args=(self._queue,), name="understudy-callbacks", daemon=True
                    )
                    start_outside(self._thread)
        if closed:
            call(callback, future)

    def close(self) -> None:
        """End the thread after the callbacks that are due, and wait CLOSE_WITHIN seconds for that."""
        with self._starting:
            closed, self._closed = self._closed, True
            thread = self._thread
        if closed or thread is None:
            return
        self._queue.put(None)
        if thread is not threading.current_thread():
            thread.join(CLOSE_WITHIN)


def _work(callbacks: _Queue) -> None:
    while (due := callbacks.get()) is not None:
        call(*due)
        del due


def call(callback: Callable[[Future[Any]], object], future: Future[Any]) -> None:
    try:
        callback(future)
    except Exception:
        log.exception("a callback of %r raised an error", future)


class UserFuture(TimedFuture[T]):
    """A future that a user gets. Its callbacks run on the thread of `Callbacks`.

    It is set with a raw result, which `result` and `exception` turn into the value in the thread that asks.
    """

    def __init__(self, callbacks: Callbacks, value_of: Callable[[Any], T]) -> None:
        super().__init__(callbacks.clock)
        self._callbacks = callbacks
        self._value_of = value_of
        #: The raw result, for threads that need not wait: with it they take no lock. None until the future is set.
        self._raw: Any = None
        #: The value or the error that the raw result stands for; None until it is known.
        self._outcome: tuple[Any, Exception | None] | None = None

    def result(self, timeout: float | None = None) -> T:
        """See `concurrent.futures.Future`. Inside a sync task it gives up the task's slot while it waits."""
        raw = self._raw
        if raw is None:
            self._await(timeout)
            raw = super().result(0)
        value: T
        value, error = self._decoded(raw)
        if error is not None:
            raise error
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See `concurrent.futures.Future`."""
        self._await(timeout)
        error = super().exception(0)
        return error if error is not None else self._decoded(super().result())[1]

    def set_raw(self, raw: Any) -> None:
        """Set the raw result, which is not None."""
        TimedFuture.set_result(cast("TimedFuture[Any]", self), raw)
        self._raw = raw

    def _await(self, timeout: float | None) -> None:
        if not self.done():
            is_done_in_task(self, timeout)

    def _decoded(self, raw: Any) -> tuple[Any, Exception | None]:
        if self._outcome is None:
            try:
                outcome: tuple[Any, Exception | None] = (self._value_of(raw), None)
            except Exception as error:  # noqa: BLE001 - a registered type's decoder may raise any error
                outcome = (None, error)
            # Of several threads that ask at once, all give what the first one has made.
            self._outcome = self._outcome or outcome
        return self._outcome

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        """See `concurrent.futures.Future`. If the future is not done yet, the thread of callbacks calls `fn`."""
        if self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(functools.partial(self._callbacks.run, fn))

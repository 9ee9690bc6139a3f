"""Subscription: an iterator over the changes of tasks' states."""

from __future__ import annotations

import asyncio
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Self

from ...actors.errors import UnderstudyError
from ...actors.ids import id_text
from ...actors.state import State
from ...actors.task.handles import Progress
from ...actors.timeouts import check_timeout
from ..home import Home
from .connection import CONNECT_TIMEOUT, Connection
from .steps import is_done

#: Events that may wait here. Then the socket fills; beyond its limit the supervisor ends the subscription.
AHEAD: Final = 10_000


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """The entry of a task into a state, or the progress that it reports."""

    id: str
    task: str
    state: State
    attempt: int
    time: float
    """Seconds since the epoch."""
    stream_id: str
    progress: Progress | None = None
    """None for the entry into a state."""


class Subscription:
    """Iterate over it, and close it or leave its `with` block when done. It has a connection of its own.

    Events come in order, after they are on disk. A state that a task enters and leaves between two commits may be
    left out; the last state never is. Iteration raises SupervisorLost if the connection ends other than by `close`.
    """

    def __init__(self, home: Home, task: str | None, stream: bytes | None, progress: bool = False) -> None:
        """Nothing happens before `open`."""
        self._wanted = task, stream, progress
        self._events = _Events()
        self._connection = Connection(home, self._events.lost)
        self._finalizer: weakref.finalize[Any, Self] | None = None

    def open(self, timeout: float | None = None) -> Self:
        """Connect and subscribe. No event after the return of this call is missed.

        Raises NotRunning, and TimeoutError after `timeout` seconds. `close` from another thread ends it early.
        """
        seconds = CONNECT_TIMEOUT if timeout is None else min(timeout, CONNECT_TIMEOUT)
        try:
            self._connection.open(seconds)
            subscribed = self._connection.subscribe(*self._wanted, self._events.take)
            if not is_done(subscribed, timeout):
                raise TimeoutError(f"the supervisor has not answered within {timeout:g} s")
            subscribed.result()
        except BaseException:
            self.close()
            raise
        # The reading thread knows the connection and the events only, so a subscription that was let go of ends.
        self._finalizer = weakref.finalize(self, _let_go, self._connection, self._events)
        self._finalizer.atexit = False
        return self

    def __iter__(self) -> Iterator[TaskEvent]:
        return self

    def __next__(self) -> TaskEvent:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> TaskEvent | None:
        """The next event, or None if closed. Raises TimeoutError after `timeout` seconds."""
        seconds = check_timeout(timeout)
        events = self._events
        with events.change:
            if not events.change.wait_for(events.has_news, seconds):
                raise TimeoutError(f"no event within {seconds:g} s")
            return events.give()

    async def next_async(self) -> TaskEvent | None:
        """As `next`, without a thread."""
        events, loop, news = self._events, asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # The loop is closed; nobody waits there any more.
                loop.call_soon_threadsafe(news.set)

        while True:
            with events.change:
                if events.has_news():
                    return events.give()
                events.on_news = tell
            try:
                await news.wait()
            finally:
                events.on_news = None
            news.clear()

    def close(self) -> None:
        """End the subscription. May be called twice."""
        if self._finalizer is not None:
            self._finalizer.detach()
        self._events.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Events:
    """The events that have come and were not given yet."""

    def __init__(self) -> None:
        self._waiting: deque[TaskEvent] = deque()
        #: Notified when an event is added or taken, and at the end.
        self.change = threading.Condition()
        #: Called when there is news, in the thread that brings it.
        self.on_news: Callable[[], object] | None = None
        self._closed = False
        self._error: UnderstudyError | None = None

    def lost(self, _connection: Connection, error: UnderstudyError) -> None:
        """The connection was lost."""
        with self.change:
            self._error = error
            self._tell()

    def close(self) -> None:
        """Give and take no more."""
        with self.change:
            self._closed = True
            self._tell()

    def take(self, rows: Any) -> None:
        """Add events; wait while AHEAD of them wait here."""
        for id, task, state, attempt, time, stream, progress in rows:
            done = None if progress is None else Progress(*progress)
            event = TaskEvent(id_text(id), task, State(state), attempt, time, id_text(stream), done)
            with self.change:
                self.change.wait_for(lambda: self._closed or len(self._waiting) < AHEAD)
                if self._closed:
                    return
                self._waiting.append(event)
                self._tell()

    def has_news(self) -> bool:
        """Whether `give` has something to give or to raise."""
        return bool(self._waiting or self._closed or self._error)

    def give(self) -> TaskEvent | None:
        """The next event; None if closed. Raises the error that ended the connection."""
        if self._closed:
            return None
        if self._waiting:
            self.change.notify_all()
            return self._waiting.popleft()
        assert self._error is not None
        raise self._error

    def _tell(self) -> None:
        self.change.notify_all()
        if self.on_news is not None:
            self.on_news()


def _let_go(connection: Connection, events: _Events) -> None:
    """End a subscription that the program has let go of without `close`."""
    works = connection.lost is None
    events.close()
    connection.hang_up()
    if works:
        warnings.warn(
            "a Subscription was not closed: use `with`, or call its close()", ResourceWarning, stacklevel=1
        )

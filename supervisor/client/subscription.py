"""Subscription: an iterator over the changes of tasks' states."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from ...actors.errors import UnderstudyError
from ...actors.ids import id_text
from ...actors.state import State
from ...actors.timeouts import check_timeout
from ..home import Home
from .connection import Connection

#: Events that may wait here. Then the socket fills; beyond its limit the supervisor ends the subscription.
AHEAD: Final = 10_000


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """The entry of a task into a state."""

    id: str
    task: str
    state: State
    attempt: int
    time: float
    """Seconds since the epoch."""
    stream_id: str


class Subscription:
    """Iterate over it, and close it or leave its `with` block when done. It has a connection of its own.

    Events come in order, after they are on disk. A state that a task enters and leaves between two commits may be
    left out; the last state never is. Iteration raises SupervisorLost if the connection ends other than by `close`.
    """

    def __init__(self, home: Home, task: str | None, stream: bytes | None) -> None:
        self._events: deque[TaskEvent] = deque()
        #: Notified when an event is added or taken, and at the end.
        self._change = threading.Condition()
        self._closed = False
        self._error: UnderstudyError | None = None
        self._connection = Connection(home, self._lost)
        try:
            self._connection.subscribe(task, stream, self._take)
        except BaseException:
            self.close()
            raise

    def _lost(self, _connection: Connection, error: UnderstudyError) -> None:
        with self._change:
            self._error = error
            self._change.notify_all()

    def _take(self, rows: Any) -> None:
        for id, task, state, attempt, time, stream in rows:
            event = TaskEvent(id_text(id), task, State(state), attempt, time, id_text(stream))
            with self._change:
                self._change.wait_for(lambda: self._closed or len(self._events) < AHEAD)
                if self._closed:
                    return
                self._events.append(event)
                self._change.notify_all()

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
        with self._change:
            if not self._change.wait_for(lambda: self._events or self._closed or self._error, seconds):
                raise TimeoutError(f"no event within {seconds:g} s")
            if self._closed:
                return None
            if self._events:
                self._change.notify_all()
                return self._events.popleft()
            assert self._error is not None
            raise self._error

    def close(self) -> None:
        """End the subscription. May be called twice."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

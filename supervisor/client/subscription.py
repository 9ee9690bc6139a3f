"""A stream of the changes of tasks' states."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from ...actors.errors import UnderstudyError
from ...actors.ids import id_text
from ...actors.state import State
from ...actors.timeouts import check_timeout
from ..home import Home
from .connection import Connection

#: Events that may wait here; past that the socket fills, and past its limit the supervisor ends the subscription.
AHEAD: Final = 10_000


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """A task has entered a state."""

    id: str
    task: str
    state: State
    attempt: int
    time: float
    """Seconds since the epoch."""
    stream_id: str


class Subscription:
    """Iterate over it; close it, or leave its `with` block, when done. Has a connection of its own.

    Events come once they are on disk, in order. A state that a task passes through between two commits may be left
    out; the last one never is. Iteration raises SupervisorLost when the connection ends otherwise than by `close`.
    """

    def __init__(self, home: Home, task: str | None, stream: bytes | None) -> None:
        self._events: deque[TaskEvent] = deque()
        #: Notified when an event has come or gone, and at the end.
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
        """The next event; None once closed; TimeoutError when `timeout` seconds run out."""
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
        """End the subscription; may be called twice."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""A stream of the changes of tasks' states."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from ..actors.errors import UnderstudyError
from ..actors.ids import id_text
from ..actors.state import State
from .connection import Connection
from .home import Home

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
        self._events: queue.Queue[TaskEvent | UnderstudyError | None] = queue.Queue(AHEAD)
        self._connection = Connection(home, lambda _connection, error: self._events.put(error))
        self._connection.subscribe(task, stream, self._take)

    def _take(self, rows: Any) -> None:
        for id, task, state, attempt, time, stream in rows:
            self._events.put(TaskEvent(id_text(id), task, State(state), attempt, time, id_text(stream)))

    def __iter__(self) -> Iterator[TaskEvent]:
        return self

    def __next__(self) -> TaskEvent:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float | None = None) -> TaskEvent | None:
        """The next event; None once closed; TimeoutError when `timeout` seconds run out."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no event within {timeout} seconds") from None
        if isinstance(event, UnderstudyError):
            raise event
        return event

    def close(self) -> None:
        """End the subscription; may be called twice."""
        while True:
            # The reading thread may be waiting for room in the queue.
            try:
                self._events.get_nowait()
            except queue.Empty:
                break
        self._connection.close()
        self._events.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

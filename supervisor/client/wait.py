"""What clients wait for across reconnections: `Wait`, and `EndsWait`, which waits for the ends of tasks."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from ...actors.clock import SYSTEM, Clock, TimedFuture
from ...actors.errors import SupervisorLost, UnderstudyError
from ..settings import BATCH_LIMIT
from ..wire.messages import Ask
from .connection import Connection, Reply, Rows

Row = tuple[bytes, str, bytes | None, Any]


class Wait(ABC):
    """Something that a client asks the supervisor for, on each new connection until it has come."""

    #: Seconds without a supervisor after which it fails; None if its caller has a limit of its own.
    patience: float | None = None
    #: When it began, or when the last connection was lost; by the monotonic clock.
    since: float

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether it has come, or will not."""

    @abstractmethod
    def ask(self, connection: Connection) -> None:
        """Ask for it. Called again with the next connection if this one breaks."""

    @abstractmethod
    def forget(self) -> None:
        """End the wait."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """End the wait with an error."""


class EndsWait(Wait):
    """The ends of some tasks.

    `rows` fills as they end; `future` is set after the last one, or with an error.
    """

    def __init__(self, ids: Iterable[bytes], clock: Clock = SYSTEM) -> None:
        self.left = set(ids)
        self.rows: dict[bytes, Row] = {}
        self.future: Future[None] = TimedFuture(clock)
        self.since = clock.monotonic()
        self._clock = clock
        self._next_news: Future[None] | None = None
        self._asked: list[tuple[Connection, Reply]] = []
        self._forgotten = False
        #: Notified when rows come in or the future is set.
        self.news = threading.Condition()
        if not self.left:
            self.future.set_result(None)

    @property
    def over(self) -> bool:
        """See `Wait`."""
        return self.future.done()

    def ask(self, connection: Connection) -> None:
        """Ask for the tasks that have not ended."""
        if self.future.done():
            return
        left = list(self.left)
        for start in range(0, len(left), BATCH_LIMIT):
            part = left[start : start + BATCH_LIMIT]
            reply = connection.request(Ask.WAIT, part, on_rows=self.take)
            self._asked.append((connection, reply))
            reply.add_done_callback(self._answered)
        if self._forgotten:
            # By another thread, meanwhile.
            self.forget()

    def forget(self) -> None:
        """See `Wait`."""
        self._forgotten = True
        # The replies refer to this wait: such a cycle would stay in memory until the garbage collector runs.
        asked, self._asked = self._asked, []
        if not self.left:
            # All have ended; the supervisor has forgotten the WAIT too, and its answer is on the way.
            return
        for connection, reply in asked:
            if not reply.done():
                connection.forget(reply)

    def fail(self, error: Exception) -> None:
        """End the wait with an error; no more rows will come."""
        with self.news:
            if not self.future.done():
                self.future.set_exception(error)
            self._tell()

    def take(self, rows: Rows) -> None:
        """These tasks have ended."""
        with self.news:
            told = {row[0]: row for row in rows}
            self.rows.update(told)
            self.left.difference_update(told)
            if not self.left and not self.future.done():
                self.future.set_result(None)
            self._tell()

    def next_news(self) -> Future[None]:
        """A future that is set when the next rows come in or `future` is set."""
        with self.news:
            if self._next_news is None:
                self._next_news = TimedFuture(self._clock)
            return self._next_news

    def _tell(self) -> None:
        self.news.notify_all()
        next_news, self._next_news = self._next_news, None
        if next_news is not None:
            next_news.set_result(None)

    def _answered(self, answer: Future[Any]) -> None:
        error = answer.exception()
        if error is None or isinstance(error, SupervisorLost):
            # All rows have come, or they will come on the next connection.
            return
        assert isinstance(error, UnderstudyError)
        self.fail(error)

"""EndsWait: one wait for the ends of tasks, across reconnections."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from ...actors.errors import SupervisorLost, UnderstudyError
from ..settings import BATCH_LIMIT
from ..wire.messages import Ask
from .connection import Connection, Reply, Rows

Row = tuple[bytes, str, bytes | None, Any]


class EndsWait:
    """The ends of some tasks.

    `rows` fills as they end; `future` is set after the last one, or with an error.
    """

    def __init__(self, ids: Iterable[bytes]) -> None:
        self.left = set(ids)
        self.rows: dict[bytes, Row] = {}
        self.future: Future[None] = Future()
        self._asked: list[tuple[Connection, Reply]] = []
        #: Notified when rows come in or the future is set.
        self.news = threading.Condition()
        if not self.left:
            self.future.set_result(None)

    def ask(self, connection: Connection) -> None:
        """Ask for the tasks that have not ended. Called again with the next connection if this one breaks."""
        if self.future.done():
            return
        left = list(self.left)
        for start in range(0, len(left), BATCH_LIMIT):
            part = left[start : start + BATCH_LIMIT]
            reply = connection.request(Ask.WAIT, part, on_rows=self._take)
            self._asked.append((connection, reply))
            reply.add_done_callback(self._answered)

    def forget(self) -> None:
        """End the wait."""
        # The replies refer to this wait: such a cycle would stay in memory until the garbage collector runs.
        asked, self._asked = self._asked, []
        if not self.left:
            # All have ended; the supervisor has forgotten the WAIT too, and its answer is on the way.
            return
        for connection, reply in asked:
            if not reply.done():
                connection.forget(reply)

    def fail(self, error: UnderstudyError) -> None:
        """End the wait with an error; no more rows will come."""
        with self.news:
            if not self.future.done():
                self.future.set_exception(error)
            self.news.notify_all()

    def _take(self, rows: Rows) -> None:
        with self.news:
            told = {row[0]: row for row in rows}
            self.rows.update(told)
            self.left.difference_update(told)
            if not self.left and not self.future.done():
                self.future.set_result(None)
            self.news.notify_all()

    def _answered(self, answer: Future[Any]) -> None:
        error = answer.exception()
        if error is None or isinstance(error, SupervisorLost):
            # All rows have come, or they will come on the next connection.
            return
        assert isinstance(error, UnderstudyError)
        self.fail(error)

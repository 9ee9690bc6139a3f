"""AnswerWait: the answer to one request that may be asked again, across reconnections."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...actors.clock import TimedFuture
from ...actors.errors import SupervisorLost, UnderstudyError
from ..wire.messages import Ask
from .connection import Connection, Reply
from .wait import Wait

if TYPE_CHECKING:
    from .reconnecting import ReconnectingClient


class AnswerWait(TimedFuture[Any], Wait):
    """The future answer to a request. `cancel` ends the wait; the request may still take effect.

    Its callbacks run in the thread that reads, so they must not wait.
    """

    def __init__(
        self,
        client: ReconnectingClient,
        op: Ask,
        fields: Callable[[Connection], tuple[Any, ...]],
        *,
        again: bool = True,
        on_answer: Callable[[], None] | None = None,
        on_cancel: Ask | None = None,
        keep: object = None,
    ) -> None:
        """`fields(connection)` gives the fields of the request each time that it is sent, or raises its error.

        `again`: whether it may be sent again after the connection was lost; otherwise it fails with SupervisorLost.
        `on_answer()` is called when the answer has come, before anybody knows of it. `on_cancel` is the request that
        tells the supervisor of a cancel. It refers to `keep` until it is over.
        """
        super().__init__(client.clock)
        self.since = client.clock.monotonic()
        self._op = op
        self._fields = fields
        self._again = again
        self._on_answer = on_answer
        self._on_cancel = on_cancel
        #: What it waits with; None once it is over.
        self._client: ReconnectingClient | None = client
        self._keep = keep
        # Guards `_reply` and `_connection`: the thread that begins it and the one that connects may ask at once.
        self._asking = threading.Lock()
        #: The request that is under way, and its connection.
        self._reply: Reply | None = None
        self._connection: Connection | None = None

    @property
    def over(self) -> bool:
        """See `Wait`."""
        return self.done()

    def ask(self, connection: Connection) -> None:
        """See `Wait`."""
        with self._asking:
            # A connection that is lost is followed by another one, which is asked.
            if self._client is None or connection is self._connection or connection.lost is not None:
                return
            self._connection = connection
            reply: Reply | None = None
            refusal: Exception | None = None
            try:
                self._reply = reply = connection.request(self._op, *self._fields(connection))
            except UnderstudyError as error:
                refusal = error
        if reply is not None:
            reply.add_done_callback(self._answered)
        elif refusal is not None:
            self.fail(refusal)

    def cancel(self) -> bool:
        """Wait no longer. False if the answer has come."""
        if not super().cancel():
            return False
        if self._let_go():
            self.set_running_or_notify_cancel()
        return True

    def forget(self) -> None:
        """See `Wait`."""
        self._let_go()

    def _let_go(self) -> bool:
        """End the wait; False if it has been ended already."""
        with self._asking:
            # The reply refers to this future: such a cycle would stay in memory until the garbage collector runs.
            reply, self._reply = self._reply, None
            connection, self._connection = self._connection, None
            client, self._client, self._keep = self._client, None, None
        if client is None:
            return False
        client.forget(self)
        if reply is not None and connection is not None and not reply.done():
            if self._on_cancel is None:
                reply.drop()
            else:
                connection.forget(reply, self._on_cancel)
        return True

    def fail(self, error: Exception) -> None:
        """See `Wait`."""
        self.forget()
        with suppress(InvalidStateError):  # It is over already.
            self.set_exception(error)

    def _answered(self, reply: Future[Any]) -> None:
        if reply is not self._reply:
            return
        error = reply.exception()
        if error is None:
            self.forget()
            if self._on_answer is not None:
                self._on_answer()
            with suppress(InvalidStateError):
                self.set_result(reply.result())
        elif not (self._again and isinstance(error, SupervisorLost)):
            assert isinstance(error, Exception)
            self.fail(error)

"""AnswerWait: the answer to one request that may be asked again, across reconnections."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...actors.clock import TimedFuture
from ...actors.errors import SupervisorLost, UnderstudyError
from ..wire.messages import Ask
from .connection import Connection
from .wait import Wait

if TYPE_CHECKING:
    from .reconnecting import ReconnectingClient


class AnswerWait(TimedFuture[Any], Wait):
    """The future answer to a request. `cancel` ends the wait; the request may still take effect.

    Its callbacks run in the thread that reads, so they must not wait.
    """

    number = 0
    connection: Connection | None = None

    def __init__(
        self,
        client: ReconnectingClient,
        op: Ask,
        fields: Callable[[Connection], tuple[Any, ...]] = lambda _: (),
        *,
        again: bool = True,
        on_cancel: Ask | None = None,
        keep: object = None,
        soon: bool = False,
    ) -> None:
        """`fields(connection)` gives the fields of the request each time that it is sent, or raises its error.

        `again`: whether it may be sent again after the connection was lost; otherwise it fails with SupervisorLost.
        `on_cancel` is the request that tells the supervisor of a cancel. It refers to `keep` until it is over. `soon`:
        it may wait for others before it is sent, until somebody waits for it.
        """
        super().__init__(client.clock)
        self.since = client.clock.monotonic()
        self._op = op
        self._fields = fields
        self._again = again
        self._on_cancel = on_cancel
        self._soon = soon
        #: What it waits with; None once it is over.
        self._client: ReconnectingClient | None = client
        self._keep = keep

    @property
    def over(self) -> bool:
        """See `Wait`."""
        return self.done()

    def ask(self, connection: Connection) -> None:
        """See `Wait`. The thread that begins it and the one that connects may both ask: it is sent once."""
        # A connection that is lost is followed by another one, which is asked.
        if self._is_let_go() or connection is self.connection or connection.lost is not None:
            return
        if self.connection is not None and not self._again:
            return
        try:
            self._send(connection)
        except UnderstudyError as error:
            self.fail(error)
            return
        if self._is_let_go():
            # By another thread, meanwhile.
            self._withdraw(connection)

    def _send(self, connection: Connection) -> None:
        """Send it, or raise its error."""
        connection.post(self, self._op, self._fields(connection), soon=self._is_soon())

    def _is_soon(self) -> bool:
        """Whether it may wait for others. One that is sent again has waited long enough."""
        return self._soon and self.connection is None

    def hurry(self) -> None:
        """Somebody waits for it now."""
        connection = self.connection
        if connection is not None and self._soon:
            connection.flush()

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

    def _is_let_go(self) -> bool:
        return self._client is None

    def _let_go(self) -> bool:
        """End the wait; False if it has been ended already."""
        client, self._client, self._keep = self._client, None, None
        if client is None:
            return False
        client.forget(self)
        if self.connection is not None:
            self._withdraw(self.connection)
        return True

    def _withdraw(self, connection: Connection) -> None:
        if self._on_cancel is None:
            connection.drop(self)
        else:
            connection.forget(self, self._on_cancel)

    def fail(self, error: Exception) -> None:
        """See `Wait`."""
        self.forget()
        with suppress(InvalidStateError):  # It is over already.
            self.set_exception(error)

    def answered(self, connection: Connection, payload: Any) -> None:
        """See `Asking`."""
        if connection is not self.connection:
            return
        client, self._client, self._keep = self._client, None, None
        if client is not None:
            client.forget(self)
        with suppress(InvalidStateError):
            self.set_result(payload)

    def refused(self, connection: Connection, error: UnderstudyError) -> None:
        """See `Asking`."""
        if connection is self.connection and not (self._again and isinstance(error, SupervisorLost)):
            self.fail(error)

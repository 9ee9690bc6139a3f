"""The base class of sync and async connections: all parts that do not wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from ..attempt.actor import CLOSED, NOTHING, TaskActor, actor_here, current_actor
from ..attempt.open_resource import Closing
from ..errors import Interrupted, InvalidOption, NotInTask, WebSocketClosed
from .connect_options import seconds
from .json_messages import decode
from .session import CODES, EMPTY, Reconnected, Session

#: Close codes of an orderly end, after which an iteration just ends.
ORDERLY: Final = (1000, 1001, 1005)


class _Mailbox:
    def __repr__(self) -> str:
        return "mailbox"


mailbox: Final = _Mailbox()
"""The task's own mailbox, as a source for `select`."""


class Connection:
    """A WebSocket connection of the task that opened it; made by `connect`."""

    def __init__(self, session: Session, actor: TaskActor) -> None:
        self._session = session
        self._actor = actor
        #: The last opening for which the task's hook was called, and whether the hook is running.
        self._greeted = 0
        self._greeting = False

    @property
    def url(self) -> str:
        """The URL given to `connect`."""
        return self._session.terms.url

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self._session.subprotocol

    @property
    def headers(self) -> Any:
        """The headers of the server's handshake response: a mapping that ignores case."""
        return self._session.headers

    @property
    def open(self) -> bool:
        """Whether messages can be sent now: the connection is neither closed nor lost."""
        return self._session.link is not None and not self._session.ended

    @property
    def close_code(self) -> int | None:
        """The close code of the end, or of the last loss while reconnecting; None while it is open."""
        return self._session.code

    @property
    def close_reason(self) -> str:
        """The reason that came with `close_code`."""
        return self._session.reason

    @property
    def error(self) -> str:
        """The cause of the end, as text for people; empty while it is open and after an orderly end."""
        return self._session.why

    @property
    def reconnects(self) -> int:
        """How many times the connection was opened again."""
        return max(self._session.openings - 1, 0)

    @property
    def latency(self) -> float:
        """Seconds between the last ping and its pong; 0.0 before the first."""
        link = self._session.link
        return self._session.latency if link is None else link.latency

    @property
    def queued(self) -> int:
        """Messages that have arrived and were not received by the task yet."""
        return len(self._session.queue)

    def __repr__(self) -> str:
        state = "open" if self.open else f"closed {self.close_code}" if self._session.ended else "lost"
        return f"<{type(self).__qualname__} {self._session.terms.place} {state}>"

    def _mine(self, what: str) -> None:
        if current_actor.get(None) is not self._actor:
            actor_here(what)
            raise NotInTask(f"{what}: this connection belongs to another task; open one of your own")

    def _take(self) -> Any:
        """A value, a Reconnected, EMPTY or OVER; WebSocketClosed if a running hook's connection is lost."""
        session = self._session
        if not self._greeting:
            item = session.take()
        elif (item := session.take(marker=False)) is EMPTY and self._lost_while_greeting():
            raise self._closed()
        # Signs, markers and bytes are not decoded.
        return decode(item) if item.__class__ is str and session.terms.json else item

    def _has_something(self) -> bool:
        session = self._session
        return bool(session.queue) or session.ended or (self._greeting and self._lost_while_greeting())

    def _sendable_now(self) -> bool:
        return not self._session.congested() or (self._greeting and self._lost_while_greeting())

    def _lost_while_greeting(self) -> bool:
        return self._session.link is None or self._session.openings != self._greeted

    def _to_greet(self, marker: Reconnected | None = None) -> bool:
        """Whether the hook is due."""
        session = self._session
        if self._greeting or session.terms.on_connect is None or session.openings <= self._greeted:
            return False
        # An older marker belongs to a connection that was lost again.
        return session.link is not None and (marker is None or marker.number == session.openings - 1)

    def _check_sendable(self) -> None:
        if self._session.ended or (self._greeting and self._lost_while_greeting()):
            raise self._closed()

    def _closed(self) -> WebSocketClosed:
        session = self._session
        code = 1006 if session.code is None else session.code
        told = f": {session.reason}" if session.reason else f" ({session.why})" if session.why else ""
        return WebSocketClosed(
            f"the connection to {session.terms.place} is closed, code {code}{told}", code, session.reason
        )

    def _end_of_iteration(self) -> None:
        """Raise WebSocketClosed unless the end was orderly."""
        if not self._session.closing and self._session.code not in ORDERLY:
            raise self._closed()


def farewell(error: BaseException | None, actor: TaskActor) -> tuple[int, str]:
    """The close code and reason for a `with` block that ended with this error."""
    if actor.signal is not None or isinstance(error, Interrupted | asyncio.CancelledError):
        return CODES[Closing.AWAY]
    return CODES[Closing.DONE] if error is None else CODES[Closing.FAILED]


def deadline_of(timeout: float | None) -> float | None:
    """The monotonic time `timeout` seconds from now; InvalidOption if that is no number of seconds."""
    return None if timeout is None else time.monotonic() + seconds("timeout", timeout)


def left_of(deadline: float | None) -> float | None:
    """Seconds until the deadline."""
    return None if deadline is None else deadline - time.monotonic()


def check_sources(actor: TaskActor, sources: Sequence[Any]) -> None:
    """Raise InvalidOption for a source that `select` cannot wait for."""
    if not sources:
        raise InvalidOption("select needs something to wait for: connections, and mailbox")
    for source in sources:
        if isinstance(source, Connection):
            if source._actor is not actor:
                source._mine("ws.select")
        elif source is not mailbox:
            raise InvalidOption(f"select waits for connections and for mailbox, not for {source!r:.80}")


def look(actor: TaskActor, sources: Sequence[Any]) -> tuple[Any, Any] | None:
    """(source, item) of the first source that has an item, in turns; None if no source has one."""
    if actor.signal_unread() and mailbox in sources:
        return mailbox, actor._next()  # the signal, as a message
    actor.check_stop()
    start = actor.turn % len(sources)
    for n, source in enumerate((*sources[start:], *sources[:start]), start + 1):
        if source is mailbox:
            item = actor._next()
            if item is NOTHING:
                continue
            item = None if item is CLOSED else item
        elif not source._has_something() or (item := source._take()) is EMPTY:
            continue
        actor.turn = n
        return source, item
    return None


def any_has_something(actor: TaskActor, sources: Sequence[Any]) -> bool:
    """Whether `look` would find an item or raise."""
    return actor.stop_pending() or any(
        actor._something_to_receive() if source is mailbox else source._has_something() for source in sources
    )

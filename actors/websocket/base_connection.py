"""The base class of sync and async connections, and `connect` and `select` for both.

Each call is written once, as a coroutine that waits by `actor._wait_async`. An async task awaits it. For a sync
task that wait blocks the thread, so the coroutine never suspends and `run_now` runs it to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

from ..attempt.actor import CLOSED, NOTHING, TaskActor, actor_here, running_actor
from ..attempt.async_actor import _maybe
from ..attempt.open_resource import CLOSE_WITHIN, Closing
from ..checks import check_seconds
from ..errors import Cancelled, Interrupted, InvalidOption, NotInTask, WebSocketClosed
from ..timeouts import deadline_of, left_of
from .connect_options import ConnectOptions, check_close
from .json_messages import decode, encode
from .session import CODES, EMPTY, OVER, Reconnected, Session

C = TypeVar("C", bound="Connection")
T = TypeVar("T")

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

    async def _send(self, data: Any, timeout: float | None, shield: bool = False) -> None:
        self._mine("ws.send")
        payload, text = encode(data)
        session, actor = self._session, self._actor
        actor.check_stop(shield)
        self._check_sendable()
        deadline = deadline_of(check_seconds("timeout", timeout, optional=True))
        while session.congested() or self._to_greet():
            await self._greet()
            if not await actor._wait_async(
                left_of(deadline), lambda: self._sendable_now() or actor.stop_pending(shield)
            ):
                raise TimeoutError(f"not sent within {timeout:g} s")
            actor.check_stop(shield)
            self._check_sendable()
        session.offer(payload, text)

    async def _receive(self, timeout: float | None, shield: bool = False) -> Any:
        self._mine("ws.receive")
        actor = self._actor
        deadline = deadline_of(check_seconds("timeout", timeout, optional=True))
        while True:
            actor.check_stop(shield)
            item = self._take()
            if item.__class__ is Reconnected:
                if await self._met(item):
                    return item
            elif item is OVER:
                return None
            elif item is not EMPTY:
                return item
            elif not await actor._wait_async(
                left_of(deadline), lambda: self._has_something() or actor.stop_pending(shield)
            ):
                raise TimeoutError(f"no message within {timeout:g} s")

    async def _close(self, code: int, reason: str) -> None:
        self._mine("ws.close")
        code, reason = check_close(code, reason)
        session, actor = self._session, self._actor
        # A signal that arrives during the wait ends it. An earlier signal is the reason for this close.
        before = (actor.signal, actor.interrupted)
        session.close(code, reason)
        limit = None if before == (None, False) else CLOSE_WITHIN
        try:
            await actor._wait_async(
                limit, lambda: session.over or (actor.signal, actor.interrupted) != before
            )
        finally:
            if not session.over:
                session.drop()
        if (actor.signal, actor.interrupted) != before and (actor.interrupted or actor.signal_unread()):
            actor.check_stop()

    async def _greet(self, marker: Reconnected | None = None) -> None:
        """Call the task's hook if it is due."""
        if not self._to_greet(marker):
            return
        hook = self._session.terms.on_connect
        assert hook is not None
        self._greeted, self._greeting = self._session.openings, True
        try:
            await _maybe(hook(self))
        except WebSocketClosed:
            # If the connection was lost again, the next opening calls the hook. If it has ended, the caller
            # sees it.
            if not self._lost_while_greeting():
                raise
        finally:
            self._greeting = False

    async def _met(self, marker: Reconnected) -> bool:
        """Call the hook at a reconnect; return whether the task wants to see the marker."""
        await self._greet(marker)
        backoff = self._session.terms.reconnect
        return backoff is not None and backoff.marker

    def _mine(self, what: str) -> None:
        if running_actor() is not self._actor:
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


def run_now(call: Coroutine[Any, Any, T]) -> T:
    """The result of a sync task's call."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    call.close()
    raise NotInTask("an async function cannot run inside a call of a sync task")


async def connect(
    kind: type[C],
    actor: TaskActor,
    loop: asyncio.AbstractEventLoop,
    terms: ConnectOptions,
    shield: bool = False,
) -> C:
    """Open a connection on this loop."""
    actor.check_stop(shield)
    session = Session(terms, loop, actor.inbox.wake, actor.disown)
    actor.own(session)
    opening = asyncio.run_coroutine_threadsafe(session.open(), loop)
    opening.add_done_callback(lambda _: actor.inbox.wake())
    try:
        await actor._wait_async(None, lambda: opening.done() or actor.stop_pending(shield))
        if not opening.done():
            actor.check_stop(shield)
        opening.result()
    finally:
        opening.cancel()
    conn = kind(session, actor)
    try:
        await conn._greet()
    except BaseException as error:
        session.close(*farewell(error, actor))
        raise
    return conn


async def select(
    actor: TaskActor, sources: Sequence[Any], timeout: float | None, shield: bool = False
) -> tuple[Any, Any]:
    """(source, message) of the first source with a message."""
    check_sources(actor, sources)
    listens = mailbox in sources
    if listens:
        actor._acknowledge_taken()
    deadline = deadline_of(check_seconds("timeout", timeout, optional=True))
    while True:
        found = look(actor, sources, shield)
        if found is None:
            if listens:
                actor._tell_taken()
            if not await actor._wait_async(
                left_of(deadline), lambda: any_has_something(actor, sources, shield)
            ):
                raise TimeoutError(f"no message within {timeout:g} s")
            continue
        source, item = found
        if isinstance(item, Reconnected) and not await source._met(item):
            continue
        return source, None if item is OVER else item


def farewell(error: BaseException | None, actor: TaskActor) -> tuple[int, str]:
    """The close code and reason for a `with` block that ended with this error."""
    if actor.signal is not None or isinstance(error, Interrupted | Cancelled | asyncio.CancelledError):
        return CODES[Closing.AWAY]
    return CODES[Closing.DONE] if error is None else CODES[Closing.FAILED]


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


def look(actor: TaskActor, sources: Sequence[Any], shield: bool) -> tuple[Any, Any] | None:
    """(source, item) of the first source that has an item, in turns; None if no source has one."""
    if not shield and actor.signal_unread() and mailbox in sources:
        return mailbox, actor._next()  # the signal, as a message
    actor.check_stop(shield)
    start = actor.turn % len(sources)
    for n, source in enumerate((*sources[start:], *sources[:start]), start + 1):
        if source is mailbox:
            item = actor._next(shield)
            if item is NOTHING:
                continue
            item = None if item is CLOSED else item
        elif not source._has_something() or (item := source._take()) is EMPTY:
            continue
        actor.turn = n
        return source, item
    return None


def any_has_something(actor: TaskActor, sources: Sequence[Any], shield: bool) -> bool:
    """Whether `look` would find an item or raise."""
    return actor.stop_pending(shield) or any(
        actor._something_to_receive(shield) if source is mailbox else source._has_something()
        for source in sources
    )

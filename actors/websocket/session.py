"""Session: a task's connection, which may span several wire connections if it is opened again.

A session has two sides. The loop's side opens, reads, writes and closes on the event loop. The task's side
takes and offers messages on the task's thread. Two queues and their counters connect them. The loop fills the
incoming queue and the task empties it; the outgoing queue works the other way round. `ring` wakes a waiting
task.
"""

from __future__ import annotations

import asyncio
import functools
import os
import ssl as tls
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

from ..attempt.open_resource import Closing
from ..errors import WebSocketRefused
from .connect_options import PASSING, ConnectOptions
from .json_messages import Message
from .wire_connection import WireConnection


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The marker that `receive` returns after a loss, before the first message of the new connection.

    Messages may be missing at this point.
    """

    number: int
    """How many times this connection has been opened again, from 1."""
    attempts: int
    """Tries that reopening took."""
    down: float
    """Seconds without a connection."""
    code: int
    """The close code of the lost connection; 1006 if it had none."""
    reason: str


class Sign(Enum):
    """What `take` returns in place of a message."""

    EMPTY = "no message has arrived yet"
    OVER = "no more messages will arrive"


EMPTY, OVER = Sign.EMPTY, Sign.OVER

#: Close codes for the reasons why a task's connection is closed.
CODES: Final = {Closing.DONE: (1000, ""), Closing.AWAY: (1001, ""), Closing.FAILED: (1011, "the task failed")}


class Session:
    """A task's connection. `ring` wakes the task; `gone` reports that all sockets are gone.

    Both run on the loop.
    """

    def __init__(
        self,
        terms: ConnectOptions,
        loop: asyncio.AbstractEventLoop,
        ring: Callable[[], object],
        gone: Callable[[Session], object],
    ) -> None:
        self.terms = terms
        self.loop = loop
        self._ring = ring
        self._gone = gone
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self.link: WireConnection | None = None
        self.queue: deque[Message | Reconnected] = deque()
        """Messages and markers for `take`."""
        # Two counters, so that each has only one writer.
        self._came = 0
        self._taken = 0
        self._outgoing: list[tuple[bytes, bool]] = []
        self._unsent = 0
        self._flushing = False
        self.openings = 0
        """Wire connections opened so far."""
        self.ended = False
        """Whether no more messages will arrive or be sent."""
        self.closing = False
        """Whether this side has begun to close."""
        self.over = False
        """Whether the socket is gone as well."""
        self.code: int | None = None
        self.reason = ""
        self.why = ""
        """The cause of the end, as text for people."""
        self.headers: Any = None
        """The headers of the last handshake response."""
        self.subprotocol: str | None = None
        self.latency = 0.0
        #: Sockets in any state.
        self._wires = 0
        self._tries = 0
        self._attempts = 0
        self._waited = 0.0
        self._opened_at = 0.0
        self._lost_at = 0.0
        self._reopening: asyncio.Task[None] | None = None

    # --- the task's side ---

    def take(self, *, marker: bool = True) -> Any:
        """The next message or marker, EMPTY or OVER; with marker=False a marker is left where it is."""
        ended = self.ended  # read first, so that messages from before the end are taken before OVER
        with self._lock:
            if not self.queue:
                return OVER if ended else EMPTY
            if not marker and isinstance(self.queue[0], Reconnected):
                return EMPTY
            item = self.queue.popleft()
            if item.__class__ is not Reconnected:
                self._taken += len(item)  # type: ignore[arg-type]  # a message here
        link = self.link
        if link is not None and link.holding and self.roomy():
            self._on_loop(link.read_on)
        return item

    def congested(self) -> bool:
        """Whether a message offered now would have to wait."""
        link = self.link
        return not self.ended and (link is None or link.paused or self._unsent >= self.terms.write_limit)

    def offer(self, payload: bytes, text: bool) -> None:
        """Queue a message for sending."""
        with self._lock:
            self._outgoing.append((payload, text))
            self._unsent += len(payload)
            if self._flushing:
                return
            self._flushing = True
        self._on_loop(self._flush)

    def close(self, code: int, reason: str) -> None:
        """Begin to close; returns at once. Messages offered before are still sent."""
        self._on_loop(self._begin_close, code, reason)

    def close_for(self, why: Closing) -> None:
        """See `OpenResource`."""
        if os.getpid() != self._pid:
            # This is a child forked by the task; the connection belongs to its parent.
            self._gone(self)
            return
        self.close(*CODES[why])

    def drop(self) -> None:
        """See `OpenResource`."""
        self._on_loop(self._abort)

    def _on_loop(self, call: Callable[..., object], *args: Any) -> None:
        if asyncio._get_running_loop() is self.loop:
            call(*args)
            return
        with suppress(RuntimeError):  # The loop is closed, and its connections too.
            self.loop.call_soon_threadsafe(call, *args)

    # --- the loop's side: opening ---

    async def open(self) -> None:
        """Connect for the first time. Raises TimeoutError or WebSocketRefused."""
        try:
            await self._connect()
        except BaseException:
            self.closing = True
            self._abort()
            raise

    async def _connect(self) -> None:
        terms = self.terms
        options: dict[str, Any] = {}
        if terms.url.startswith("wss:"):
            options["ssl"] = terms.ssl or _default_tls()
        try:
            await connect(
                terms.url,
                additional_headers=list(terms.headers),
                subprotocols=terms.subprotocols,
                open_timeout=terms.open_timeout,
                close_timeout=terms.close_timeout,
                ping_interval=None,  # WireConnection sends pings itself
                max_size=terms.max_size,
                write_limit=terms.write_limit,
                compression="deflate" if terms.compression else None,
                proxy=terms.proxy or None,
                create_connection=functools.partial(WireConnection, owner=self),  # type: ignore[arg-type]  # a factory
                **options,
            )
        except TimeoutError as error:
            raise TimeoutError(f"no connection to {terms.place} {_within(terms.open_timeout)}") from error
        except (OSError, WebSocketException, ValueError, EOFError) as error:
            raise _refused(terms.place, error) from error

    async def _reopen(self) -> None:
        backoff = self.terms.reconnect
        assert backoff is not None
        attempts = 0
        while backoff.attempts is None or attempts < backoff.attempts:
            self._waited = backoff.wait(self._tries)
            self._tries += 1
            attempts += 1
            self._attempts = attempts
            await asyncio.sleep(self._waited)
            try:
                await self._connect()
            except (TimeoutError, WebSocketRefused) as error:
                self.why = str(error)
                if isinstance(error, WebSocketRefused) and error.final:
                    break
            else:
                self._reopening = None
                if self.link is None and not self.ended:
                    # The connection was lost again before this coroutine resumed.
                    self._again()
                return
        self._reopening = None
        self._finish()

    def wired(self) -> None:
        """There is a TCP connection; `lost` is called when it is gone."""
        self._wires += 1

    def opened_link(self, link: WireConnection) -> None:
        """The handshake has succeeded; no message has come yet."""
        if self.closing:
            link.close_with(1001, "")
            return
        self.link = link
        self.openings += 1
        self._opened_at = time.monotonic()
        self.headers = link.response.headers if link.response is not None else None
        self.subprotocol = link.subprotocol
        if self.openings > 1:
            down = self._opened_at - self._lost_at
            self.queue.append(
                Reconnected(self.openings - 1, self._attempts, down, self.code or 1006, self.reason)
            )
        self.code, self.reason, self.why = None, "", ""

    # --- the loop's side: in and out ---

    def put(self, message: Message) -> None:
        """A message has arrived."""
        self._came += len(message)
        self.queue.append(message)

    def full(self) -> bool:
        """Whether reading should stop."""
        return (
            len(self.queue) >= self.terms.max_queue or self._came - self._taken >= self.terms.max_queue_bytes
        )

    def roomy(self) -> bool:
        """Whether reading should go on."""
        return (
            len(self.queue) <= self.terms.max_queue // 2
            and self._came - self._taken <= self.terms.max_queue_bytes // 2
        )

    def news(self) -> None:
        """A state has changed that the task may be waiting for."""
        self._ring()

    def _flush(self) -> None:
        with self._lock:
            messages, self._outgoing = self._outgoing, []
            self._flushing = False
            self._unsent = 0
        # Without a connection these messages are lost, like those in the socket's buffer.
        if self.link is not None and messages:
            self.link.write(messages)
        self._ring()

    # --- the loop's side: the end ---

    def lost(self, link: WireConnection) -> None:
        """The connection is gone."""
        self._wires -= 1
        if link is not self.link:
            # It was refused or given up before it opened.
            if self.ended:
                self._finish()
            return
        self.link = None
        self._lost_at = time.monotonic()
        self.latency = link.latency
        self.code, self.reason = link.ending()
        self.why = link.why
        backoff = self.terms.reconnect
        if self.closing or backoff is None or self.code in backoff.final:
            self._finish()
            return
        if self._lost_at - self._opened_at >= self._waited:
            self._tries = 0
        if self._reopening is None:
            self._again()
        self._ring()

    def _again(self) -> None:
        self._reopening = self.loop.create_task(self._reopen())

    def _begin_close(self, code: int, reason: str) -> None:
        if self.closing or self.over:
            return
        self._flush()
        self.closing = True
        self._stop_reopening()
        with self._lock:
            self.queue.clear()
        self.ended = True
        if self.link is None:
            self._finish()
        else:
            self.link.close_with(code, reason)
            self._ring()

    def _abort(self) -> None:
        self.closing = True
        self._stop_reopening()
        if self.link is None:
            self._finish()
        else:
            self.link.transport.abort()

    def _stop_reopening(self) -> None:
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None

    def _finish(self) -> None:
        if self.code is None:
            self.code = 1006
        self.ended = True
        if not self.over and not self._wires:
            self.over = True
            self._gone(self)
        self._ring()


@functools.cache
def _default_tls() -> tls.SSLContext:
    """One shared context, because each new one loads the system's certificates again."""
    return tls.create_default_context()


def _within(timeout: float | None) -> str:
    return "within the time limit of the system" if timeout is None else f"within {timeout:g} s"


def _refused(place: str, error: Exception) -> WebSocketRefused:
    """Our error for a library's or the system's error while connecting."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        message = f"{place} has answered the handshake with HTTP {status}"
        return WebSocketRefused(message, status=status, final=status not in PASSING)
    if isinstance(error, tls.SSLError):
        return WebSocketRefused(
            f"no TLS connection to {place}: {error}", final=isinstance(error, tls.SSLCertVerificationError)
        )
    if isinstance(error, OSError):
        # A cut in the TLS handshake (by a server without TLS, for example) has an empty error message.
        told = str(error) or f"the connection ended during the handshake ({type(error).__name__})"
        return WebSocketRefused(f"no connection to {place}: {told}")
    cut_off = isinstance(getattr(error, "__cause__", None), EOFError | OSError)
    final = not cut_off and isinstance(error, InvalidHandshake | ValueError)
    cause = f" ({error.__cause__})" if cut_off else ""
    return WebSocketRefused(
        f"{place} is not a WebSocket server, or refuses this client: {error}{cause}", final=final
    )

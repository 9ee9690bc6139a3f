"""WireConnection: one TCP connection from its handshake to its loss, on top of `websockets`.

Everything here runs on the event loop of the connection. It differs from the library's own connection:

1. A message goes straight into its owner's queue, where another thread may take it. It wakes no coroutine.
2. Reading stops when the queue is full, even in the middle of the bytes of one read. Silence of the peer does
   not count as a lost connection while reading is stopped.
3. Closing has a deadline kept by a timer. It applies to both sides' closes, even if no task waits.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Opcode
from websockets.protocol import State

if TYPE_CHECKING:
    from .session import Session

#: Bytes given to the parser at once. The queue may exceed its limit by the messages in them, which is up to
#: 1,000 times as much if they are compressed.
SLICE: Final = 4096

_OPEN: Final = State.OPEN
_CONT: Final = Opcode.CONT
_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY
_PONG: Final = Opcode.PONG


class WireConnection(ClientConnection):
    """A connection; made by `websockets` after TCP has connected."""

    def __init__(self, protocol: ClientProtocol, *, owner: Session, **options: Any) -> None:
        super().__init__(protocol, **options)
        self.owner = owner
        self.terms = owner.terms
        #: The first fragments of a message, and whether it is text.
        self._parts: bytearray | None = None
        self._is_text = False
        #: Bytes read but not parsed, because the queue is full.
        self._backlog = b""
        self.holding = False
        """Whether reading has stopped; the owner calls `read_on` when its queue has room."""
        self._dropping = False
        self._heard = True
        self._pulse: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._pinged: float | None = None
        self.why = ""
        """The cause of the end, as text for people; empty for an orderly end."""

    # --- input ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TCP, and TLS if used, has connected."""
        super().connection_made(transport)
        self.owner.wired()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes until the queue is full."""
        self._heard = True
        if self._backlog:
            # Some transports deliver bytes that they read before `pause_reading`.
            self._backlog += data
            return
        self._parse(data)
        self.owner.news()

    def _parse(self, data: bytes) -> None:
        full = self.owner.full
        start = 0
        while start < len(data):
            if not self._dropping and full() and self._hold():
                self._backlog = data[start:]
                return
            super().data_received(data[start : start + SLICE] if len(data) > SLICE else data)
            start += SLICE
        if self.protocol.state is State.CLOSING:
            self._end_within()
        elif self.protocol.handshake_exc is not None:
            self.transport.abort()  # ends the wait for a valid response
        if not self._dropping and full():
            self._hold()

    def _parse_rest(self) -> None:
        """Parse the backlog regardless of room, because no more bytes follow."""
        data, self._backlog = self._backlog, b""
        for start in range(0, len(data), SLICE):
            if not self._dropping:
                super().data_received(data[start : start + SLICE])

    def _hold(self) -> bool:
        """Stop reading; False if the queue has room again."""
        self.transport.pause_reading()
        self.holding = True
        # The task may have emptied the queue before it saw `holding`.
        if self.owner.roomy():
            self.holding = False
            self.transport.resume_reading()
        return self.holding

    def read_on(self) -> None:
        """Go on reading, because the queue has room again."""
        if not self.holding:
            return
        self.holding = False
        self._heard = True
        data, self._backlog = self._backlog, b""
        self._parse(data)
        if not self.holding:
            self.transport.resume_reading()
        self.owner.news()

    def process_event(self, event: Any) -> None:
        """Handle one frame, or the handshake response."""
        if self.response is None:
            super().process_event(event)
            # `protocol.state` would not do: the same read may contain a close.
            if self.protocol.handshake_exc is None:
                self.owner.opened_link(self)
                self._beat_later(self.terms.ping_interval)
            return
        opcode = event.opcode
        if opcode is _TEXT or opcode is _BINARY:
            if event.fin:
                self._whole(event.data, opcode is _TEXT)
            else:
                self._parts, self._is_text = bytearray(event.data), opcode is _TEXT
        elif opcode is _CONT:
            assert self._parts is not None  # the protocol checks the order of frames
            self._parts += event.data
            if event.fin:
                data, self._parts = self._parts, None
                self._whole(data, self._is_text)
        elif opcode is _PONG and self._pinged is not None:
            self.latency, self._pinged = self.loop.time() - self._pinged, None

    def _whole(self, data: bytes | bytearray, text: bool) -> None:
        if self._dropping:
            return
        if not text:
            self.owner.put(bytes(data))
            return
        try:
            message = data.decode()
        except UnicodeDecodeError as error:
            self.fail(CloseCode.INVALID_DATA, f"{error.reason} at position {error.start}")
        else:
            self.owner.put(message)

    # --- output ---

    def write(self, messages: list[tuple[bytes, bool]]) -> None:
        """Send these (payload, is text), unless the connection is no longer open."""
        protocol = self.protocol
        if protocol.state is not _OPEN:
            return
        for payload, text in messages:
            (protocol.send_text if text else protocol.send_binary)(payload)
        # Joined, because the transport makes a system call for each write.
        self.transport.write(b"".join(protocol.data_to_send()))

    def resume_writing(self) -> None:
        """The transport's buffer has room."""
        super().resume_writing()
        self.owner.news()

    # --- pings ---

    def _beat_later(self, after: float | None) -> None:
        if after is not None and self._end is None:
            self._pulse = self.loop.call_later(after, self._beat)

    def _beat(self) -> None:
        """Send a ping, and check after `ping_timeout` whether any bytes have arrived since."""
        if self.protocol.state is not _OPEN:
            return
        self._heard = False
        self._pinged = self.loop.time()
        self.protocol.send_ping(b"understudy")
        self.send_data()
        interval, timeout = self.terms.ping_interval, self.terms.ping_timeout
        assert interval is not None
        if timeout is None:
            self._beat_later(interval)
        else:
            self._pulse = self.loop.call_later(timeout, self._feel, max(interval - timeout, 0))

    def _feel(self, rest: float) -> None:
        """Fail the connection if nothing has arrived since the ping, unless reading is stopped."""
        if self._heard or self.holding:
            self._beat_later(rest)
        else:
            self.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    # --- the end ---

    def fail(self, code: CloseCode, reason: str) -> None:
        """Close because the peer violated the protocol or did not answer a ping."""
        self.why = reason
        self.protocol.fail(code, reason)
        self._say_goodbye()

    def close_with(self, code: int, reason: str) -> None:
        """Begin to close.

        Messages that arrive from now on are dropped, so that the peer's answer can be read.
        """
        if self.protocol.state is _OPEN:
            self.protocol.send_close(code, reason)
        self._dropping = True
        self._say_goodbye()
        self.read_on()

    def _say_goodbye(self) -> None:
        self.send_data()
        self._end_within()

    def _end_within(self) -> None:
        if self._end is None:
            self._stop_timers()
            self._end = self.loop.call_later(self.terms.close_timeout, self._cut)

    def _cut(self) -> None:
        self.why = self.why or f"no answer to the close within {self.terms.close_timeout:g} s"
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._pulse, self._end):
            if timer is not None:
                timer.cancel()
        self._pulse = None

    def eof_received(self) -> None:
        """The peer sends no more."""
        self._parse_rest()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. Bytes read before are still parsed."""
        self.holding = False
        self._parse_rest()
        super().connection_lost(exc)
        self._stop_timers()
        if not self.why:
            self.why = _cause(exc or self.protocol.parser_exc)
        self.owner.lost(self)

    def ending(self) -> tuple[int, str]:
        """The close code and reason of this end: the peer's, else those of our own failure."""
        protocol = self.protocol
        received, sent = protocol.close_rcvd, protocol.close_sent
        if received is not None and not (sent is not None and self.why and not protocol.close_rcvd_then_sent):
            return int(received.code), received.reason
        if sent is not None and self.why and sent.code not in (1000, 1001):
            return int(sent.code), sent.reason
        return int(CloseCode.ABNORMAL_CLOSURE), ""


def _cause(error: BaseException | None) -> str:
    if error is None:
        return ""
    return str(error) or type(error).__name__

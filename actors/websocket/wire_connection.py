"""One connection on the wire, from its handshake to its loss: `websockets` with a queue, a pulse and limits of ours.

Everything here runs on the event loop of the connection. What differs from the library's own connection:

1. A message goes straight into its owner's queue, where another thread may take it; no coroutine is woken for it.
2. When the queue is full, reading stops, also in the middle of what one read has brought. Then silence of the other
   side says nothing, so the pulse does not count it.
3. Closing has a deadline that a timer keeps, whoever began it and whether or not somebody waits.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from .connect_options import ConnectOptions
from .json_messages import Message

#: Bytes handed to the parser at once: the queue may grow beyond its limit by what they hold, which is a thousand times
#: as much where it is compressed.
SLICE: Final = 4096

_OPEN: Final = State.OPEN
_CONT: Final = Opcode.CONT
_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY
_PONG: Final = Opcode.PONG


class Owner(Protocol):
    """Whose connection it is. Called on the event loop."""

    terms: ConnectOptions

    def wired(self) -> None:
        """There is a TCP connection; `lost` will say when it has gone."""

    def opened_link(self, link: WireConnection) -> None:
        """The handshake has succeeded; no message has come yet."""

    def put(self, message: Message) -> None:
        """A message has come."""

    def full(self) -> bool:
        """Whether nothing more should be read."""

    def roomy(self) -> bool:
        """Whether reading should go on."""

    def news(self) -> None:
        """Something has changed that somebody may wait for."""

    def lost(self, link: WireConnection) -> None:
        """The connection is gone."""


class WireConnection(ClientConnection):
    """Made by `websockets` once the TCP connection stands."""

    def __init__(self, protocol: ClientProtocol, *, owner: Owner, **options: Any) -> None:
        super().__init__(protocol, **options)
        self.owner = owner
        self.terms = owner.terms
        #: The first fragments of a message, and whether it is text.
        self._parts: bytearray | None = None
        self._is_text = False
        #: Read but not parsed, because the queue is full.
        self._backlog = b""
        self.holding = False
        """Whether reading has stopped; the owner calls `read_on` once it has room."""
        self._dropping = False
        self._heard = True
        self._pulse: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None
        self._pinged: float | None = None
        self.why = ""
        """What went wrong, for people; empty for an orderly end."""

    # --- what comes in ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection, or TLS on it, stands."""
        super().connection_made(transport)
        self.owner.wired()

    def data_received(self, data: bytes) -> None:
        """Parse it, as far as there is room for what it holds."""
        self._heard = True
        if self._backlog:
            # Some transports bring what they had read before they were told to stop.
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
            self.transport.abort()  # which ends the wait for an answer that makes sense
        if not self._dropping and full():
            self._hold()

    def _parse_rest(self) -> None:
        """Nothing comes after it, so it is no matter of room any more."""
        data, self._backlog = self._backlog, b""
        for start in range(0, len(data), SLICE):
            if not self._dropping:
                super().data_received(data[start : start + SLICE])

    def _hold(self) -> bool:
        """Stop reading; False if that is not necessary after all."""
        self.transport.pause_reading()
        self.holding = True
        # The task may have emptied the queue before it could see that.
        if self.owner.roomy():
            self.holding = False
            self.transport.resume_reading()
        return self.holding

    def read_on(self) -> None:
        """There is room again."""
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
        """One frame, or the answer to the handshake."""
        if self.response is None:
            super().process_event(event)
            # Not the state: the same read may have brought the close as well.
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
        elif opcode is _PONG:
            self._answered(event)

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

    # --- what goes out ---

    def write(self, messages: list[tuple[bytes, bool]]) -> bool:
        """Send these (payload, is text); False if the connection does not take any more."""
        protocol = self.protocol
        if protocol.state is not _OPEN:
            return False
        for payload, text in messages:
            (protocol.send_text if text else protocol.send_binary)(payload)
        # In one piece: the transport makes a system call of each.
        self.transport.write(b"".join(protocol.data_to_send()))
        return True

    def pause_writing(self) -> None:
        """The transport holds as much as it should."""
        super().pause_writing()

    def resume_writing(self) -> None:
        """The transport takes more."""
        super().resume_writing()
        self.owner.news()

    # --- the pulse ---

    def _beat_later(self, after: float | None) -> None:
        if after is not None and self._end is None:
            self._pulse = self.loop.call_later(after, self._beat)

    def _beat(self) -> None:
        """Send a ping, and look later whether anything at all has come since."""
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
        """Whether the other side lives, as far as it could be heard."""
        if self._heard or self.holding:
            self._beat_later(rest)
        else:
            self.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    def _answered(self, pong: Frame) -> None:
        if self._pinged is not None:
            self.latency, self._pinged = self.loop.time() - self._pinged, None

    # --- the end ---

    def fail(self, code: CloseCode, reason: str) -> None:
        """The other side has broken a rule."""
        self.why = reason
        self.protocol.fail(code, reason)
        self._say_goodbye()

    def close_with(self, code: int, reason: str) -> None:
        """Begin to close; what has not been taken by now is dropped, so that the other side's answer can be read."""
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
        """The other side sends no more."""
        self._parse_rest()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more; what had been read counts still."""
        self.holding = False
        self._parse_rest()
        super().connection_lost(exc)
        self._stop_timers()
        if not self.why:
            self.why = _cause(exc or self.protocol.parser_exc)
        self.owner.lost(self)

    def ending(self) -> tuple[int, str]:
        """The close code and the reason that stand for this end: the other side's, else why we broke it off."""
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

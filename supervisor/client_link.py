"""One client's connection, seen from the supervisor: frames in, answers out, and a bound on what it does not read."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any, Final, Protocol

from ..actors.errors import ProtocolError, UnderstudyError
from .codec import VERSION, Decoder, encode, parts
from .error_frame import error_fields
from .frames import Answer, Ask
from .home import peer_uid_ok
from .settings import MIB

log = logging.getLogger("understudy")

#: Bytes of answers that may wait for a client that does not read; past that it is dropped.
UNREAD_LIMIT: Final = 256 * MIB
#: What handling a frame with fields of the wrong number or kind raises.
MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class Asked(Protocol):
    """Who answers clients."""

    def connected(self, client: ClientLink) -> None:
        """A client has said hello; answer with `client.welcome`."""

    def asked(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """A frame `[op, request, …]` has come in."""

    def gone(self, client: ClientLink) -> None:
        """The connection has ended."""


class ClientLink(asyncio.Protocol):
    """Corrupt or foreign bytes close this connection and touch nothing else."""

    def __init__(self, service: Asked, value_limit: int) -> None:
        self._service = service
        self._decoder = Decoder(value_limit)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._greeted = False
        #: Requests of this client that wait for tasks to end.
        self.waits: dict[int, set[bytes]] = {}
        #: The subscription's request and filter, if it has one: (request, task, stream).
        self.subscription: tuple[int, str | None, bytes | None] | None = None

    # --- answers; they go out with `flush` ---

    def welcome(self, facts: dict[str, Any]) -> None:
        """The answer to a hello."""
        self._push((Answer.WELCOME, VERSION, facts))
        self.flush()

    def answer(self, request: int, payload: Any = None) -> None:
        """A request was done."""
        self._push((Answer.OK, request, payload))

    def refuse(self, request: int, error: UnderstudyError) -> None:
        """A request was refused."""
        self._push((Answer.ERROR, request, *error_fields(error)))

    def ended(self, request: int, rows: list[Any]) -> None:
        """Tasks that a WAIT is about have ended."""
        for part in parts(rows, _size):
            self._push((Answer.ENDED, request, part))

    def event(self, rows: list[Any]) -> None:
        """Changes that the subscription is about."""
        if self.subscription is not None:
            for part in parts(rows, _size):
                self._push((Answer.EVENT, self.subscription[0], part))

    def goodbye(self, reason: str) -> None:
        """The supervisor stops."""
        self._push((Answer.GOODBYE, reason))
        self.flush()

    def _push(self, frame: Any) -> None:
        self._out.append(encode(frame))

    def flush(self) -> None:
        """Send what has gathered."""
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            if self._transport.get_write_buffer_size() + len(data) > UNREAD_LIMIT and (
                self._transport.get_write_buffer_size() > 0
            ):
                log.error("a client does not read its answers: %d MiB wait; dropping it", UNREAD_LIMIT >> 20)
                self._transport.abort()
                return
            self._transport.write(data)

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock: socket.socket = transport.get_extra_info("socket")
        if not peer_uid_ok(sock):
            log.error("a process of another user tried to connect; refused")
            transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._take(frame)
        except ProtocolError as error:
            log.warning("a client sent what is not of this protocol: %s", error)
            self._end(error)
        except MALFORMED as error:
            self.reject(error)

    def reject(self, error: Exception) -> None:
        """Its frame had fields of the wrong number or kind: tell it, and end the connection."""
        log.warning("a client sent a frame that cannot be: %r", error)
        self._end(ProtocolError(f"a frame that cannot be: {error!r:.200}"))

    def _take(self, frame: tuple[Any, ...]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._greeted:
            request = frame[1]
            if type(request) is not int:
                raise ProtocolError(f"a request's number must be an int: {request!r:.100}")
            self._service.asked(self, frame)
        elif frame[0] == Ask.HELLO and len(frame) == 2:
            if frame[1] != VERSION:
                raise ProtocolError(
                    f"the client speaks protocol version {frame[1]!r:.20}, this supervisor version {VERSION}: "
                    "install the same release of understudy on both sides"
                )
            self._greeted = True
            self._service.connected(self)
        else:
            raise ProtocolError("the first frame must be a hello")

    def _end(self, error: ProtocolError) -> None:
        self.refuse(0, error)
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._service.gone(self)

    def read(self, go_on: bool) -> None:
        """Stop or go on reading requests."""
        if self._transport is not None and not self._transport.is_closing():
            if go_on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def close(self) -> None:
        """End the connection once everything has been sent."""
        self.flush()
        if self._transport is not None:
            self._transport.close()


def _size(row: Any) -> int:
    """Bytes of a row of ENDED or EVENT, roughly; the large part of it is the third of ENDED, the task's value."""
    return 200 + (len(row[2]) if isinstance(row[2], bytes) else 0)

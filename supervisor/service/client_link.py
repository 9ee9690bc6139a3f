"""One client's connection, seen from the supervisor: frames in, answers out, and a bound on what it does not read."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol

from ...actors.errors import ProtocolError, UnderstudyError
from ..home import peer_uid_ok
from ..settings import MIB
from ..wire.codec import VERSION, Decoder, encode, parts
from ..wire.error_codec import error_fields
from ..wire.messages import Answer, Ask
from ..wire.socket_buffers import StreamProtocol, widen

log = logging.getLogger("understudy")

#: Bytes that wait for a client from which on nothing more is read from it, and ends that it waits for stay on disk.
UNREAD_HIGH: Final = 4 * MIB
#: Ends that are read from disk at once, and bytes of their values.
LATE_ROWS: Final = 1000
LATE_BYTES: Final = 1 * MIB
#: Bytes beyond one value that may wait for a client that does not read (events, mostly); past that it is dropped.
UNREAD_LIMIT: Final = 64 * MIB
#: What handling a frame with fields of the wrong number or kind raises.
MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class Asked(Protocol):
    """Who answers clients."""

    def admit(self, client: ClientLink) -> None:
        """Somebody has connected; an error refuses it."""

    def connected(self, client: ClientLink) -> None:
        """A client has said hello; answer with `client.welcome`."""

    def asked(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """A frame `[op, request, …]` has come in."""

    def gone(self, client: ClientLink) -> None:
        """The connection has ended."""

    def ends_of(self, ids: Sequence[bytes], most: int) -> list[tuple[Any, ...]]:
        """The rows of ENDED for the first few of these tasks, whose ends are on disk: at least one, and no more than
        have `most` bytes of values."""


class ClientLink(StreamProtocol):
    """Corrupt or foreign bytes close this connection and touch nothing else."""

    def __init__(self, service: Asked, value_limit: int) -> None:
        self._service = service
        self._decoder = Decoder(value_limit)
        self._unread_limit = UNREAD_LIMIT + value_limit
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        #: Frames that have come and are not taken yet, because too much waits for the client, or it is held up.
        self._frames: Iterator[tuple[Any, ...]] = iter(())
        #: Whether the service has it read, and whether it does so.
        self._may_read = True
        self._reads = True
        self._held = False
        #: Ends to tell of when there is room, by request; the OK of a request has no ids.
        self._late: deque[tuple[int, deque[bytes]]] = deque()
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
        """Tasks that a WAIT is about have ended, and it is on disk."""
        if self._late or self._choked:
            self._late.append((request, deque(row[0] for row in rows)))
            return
        for part in parts(rows, _size):
            self._push((Answer.ENDED, request, part))

    def ended_before(self, request: int, ids: Sequence[bytes]) -> None:
        """Tasks that a WAIT is about had ended: they are told of as fast as the client reads."""
        if ids:
            self._late.append((request, deque(ids)))
            self._tell_late()

    def all_ended(self, request: int) -> None:
        """The answer to a WAIT, after all that it is about."""
        if self._late:
            self._late.append((request, deque()))
        else:
            self.answer(request)

    def forget(self, request: int) -> None:
        """A WAIT is not wanted any more."""
        if self._late:
            self._late = deque(item for item in self._late if item[0] != request)

    def _tell_late(self) -> None:
        """Tell of ends for as long as there is room; what they are is read from disk just then."""
        while self._late and not self._choked and self._transport is not None:
            request, ids = self._late[0]
            if not ids:
                self._late.popleft()
                self.answer(request)
                continue
            try:
                rows = self._service.ends_of(list(islice(ids, LATE_ROWS)), LATE_BYTES)
            except UnderstudyError as error:
                self.forget(request)
                self.refuse(request, error)
                continue
            self._push((Answer.ENDED, request, rows))
            for _ in rows:
                ids.popleft()
            if not ids:
                self._late.popleft()
            if self._out_size >= UNREAD_HIGH:
                self._write()

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
        data = encode(frame)
        self._out.append(data)
        self._out_size += len(data)

    def flush(self) -> None:
        """Send what has gathered, and go on with what there was no room for."""
        self._write()
        if not self._choked:
            if self._late:
                self._tell_late()
                self._write()
            if not self._reads and not self._held:
                self._go_on()

    def _write(self) -> None:
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            waiting = self._transport.get_write_buffer_size()
            if waiting > 0 and waiting + len(data) > self._unread_limit:
                log.error("a client does not read its answers: %d MiB wait; dropping it", waiting >> 20)
                self._transport.abort()
                return
            self._transport.write(data)

    @property
    def _choked(self) -> bool:
        """Whether the client has to read before it is told more."""
        return self._transport is not None and (
            self._out_size + self._transport.get_write_buffer_size() >= UNREAD_HIGH
        )

    def resume_writing(self) -> None:
        """It has read (see asyncio.Protocol)."""
        self.flush()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(UNREAD_HIGH - 1, UNREAD_HIGH // 4)
        sock: socket.socket = transport.get_extra_info("socket")
        if not peer_uid_ok(sock):
            log.error("a process of another user tried to connect; refused")
            transport.abort()
            return
        widen(sock)
        try:
            self._service.admit(self)
        except UnderstudyError as error:
            log.warning("a client was refused: %s", error)
            self.refuse(0, error)
            self.close()

    def data_received(self, data: bytes | memoryview) -> None:
        try:
            new = self._decoder.feed(data)
        except ProtocolError as error:
            self._distrust(error)
            return
        # What is left of the last read, if anything, comes first.
        self._frames = chain(self._frames, new) if not self._reads else new
        self._take_frames()

    def _take_frames(self) -> None:
        try:
            for frame in self._frames:
                self._take(frame)
                if self._held or self._choked:
                    # It asks faster than it reads, or than is good: the rest waits, here and in its socket.
                    self._reads = False
                    self._settle_reading()
                    return
        except ProtocolError as error:
            self._distrust(error)
        except MALFORMED as error:
            self.reject(error)

    def hold(self, held: bool) -> None:
        """Take nothing more of what it asks for after the frame at hand, or go on."""
        self._held = held
        if not held:
            self.flush()

    def _go_on(self) -> None:
        """There is room again: take what has waited, then read on."""
        self._reads = True
        self._take_frames()
        self._settle_reading()

    def _distrust(self, error: ProtocolError) -> None:
        log.warning("a client sent what is not of this protocol: %s", error)
        self._end(error)

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
        self._late.clear()
        self._service.gone(self)

    def read(self, go_on: bool) -> None:
        """Stop or go on reading requests."""
        self._may_read = go_on
        self._settle_reading()

    def _settle_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if self._may_read and self._reads:
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

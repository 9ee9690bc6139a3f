"""ClientLink: one client's connection in the supervisor, with a limit on unread answers."""

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
from ..wire.codec import VERSION, Decoder, check_version, encode, parts
from ..wire.error_codec import error_fields
from ..wire.messages import Answer, Ask
from ..wire.socket_buffers import StreamProtocol, widen

log = logging.getLogger("understudy")

#: Unread bytes of a client above which its requests are not read and the ends it waits for stay on disk.
UNREAD_HIGH: Final = 4 * MIB
#: Ends read from disk at once, and bytes of their values.
LATE_ROWS: Final = 1000
LATE_BYTES: Final = 1 * MIB
#: Unread bytes (mostly events), in addition to one value, above which a client is dropped.
UNREAD_LIMIT: Final = 64 * MIB
#: Errors raised by the handling of a frame with a wrong number or kind of fields.
MALFORMED: Final = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class Asked(Protocol):
    """The object that answers clients."""

    def admit(self, client: ClientLink) -> None:
        """A client has connected; an error refuses it."""

    def connected(self, client: ClientLink) -> None:
        """A client has sent HELLO; answer with `client.welcome`."""

    def asked(self, client: ClientLink, frame: tuple[Any, ...]) -> None:
        """A frame `[op, request, …]` has come in."""

    def gone(self, client: ClientLink) -> None:
        """The connection has ended."""

    def ends_of(self, ids: Sequence[bytes], most: int) -> list[tuple[Any, ...]]:
        """The rows of ENDED for the first of these tasks, whose ends are on disk.

        At least one row, and otherwise rows with at most `most` bytes of values.
        """


class ClientLink(StreamProtocol):
    """A protocol of the event loop. Corrupt bytes close this connection and affect nothing else."""

    def __init__(self, service: Asked, value_limit: int, group: int | None = None) -> None:
        """`group` is the id of the group whose members may connect as well."""
        self._service = service
        self._group = group
        self._decoder = Decoder(value_limit)
        self._unread_limit = UNREAD_LIMIT + value_limit
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        #: Answers that are not in `_out` yet.
        self._answers: list[tuple[int, Any]] = []
        #: Frames received but not handled yet, because the client has too many unread bytes.
        self._frames: Iterator[tuple[Any, ...]] = iter(())
        #: Whether the service allows reading, and whether there is room to read.
        self._may_read = True
        self._reads = True
        #: Ends to send when there is room, by request; an empty list of ids stands for the request's OK.
        self._late: deque[tuple[int, deque[bytes]]] = deque()
        self._greeted = False
        #: This client's open WAIT requests, with the tasks that have not ended.
        self.waits: dict[int, set[bytes]] = {}
        #: The letters for whose answers it waits, by request.
        self.asks: dict[int, bytes] = {}
        #: The client's subscription, if any: (request, task, stream).
        self.subscription: tuple[int, str | None, bytes | None, bool] | None = None

    # --- answers; `flush` sends them ---

    def welcome(self, facts: dict[str, Any]) -> None:
        """Answer HELLO."""
        self._push((Answer.WELCOME, VERSION, facts))
        self.flush()

    def answer(self, request: int, payload: Any = None) -> None:
        """Answer a request that was done."""
        self._push((Answer.OK, request, payload))

    def reply(self, request: int, payload: bytes | None = None) -> None:
        """As `answer`, for a letter: one frame carries the answers to many."""
        self._answers.append((request, payload))
        self._out_size += len(payload or b"")

    def _push_answers(self) -> None:
        answers, self._answers = self._answers, []
        if len(answers) == 1:
            self._push((Answer.OK, *answers[0]))
            return
        for part in parts(answers, _size_of_answer):
            self._push((Answer.ANSWERS, part))

    def refuse(self, request: int, error: UnderstudyError) -> None:
        """Answer a request with an error."""
        self._push((Answer.ERROR, request, *error_fields(error)))

    def ended(self, request: int, rows: list[Any]) -> None:
        """Send the ends of tasks of a WAIT. The ends are on disk."""
        if self._late or self._choked:
            self._late.append((request, deque(row[0] for row in rows)))
            return
        for part in parts(rows, _size):
            self._push((Answer.ENDED, request, part))

    def ended_before(self, request: int, ids: Sequence[bytes]) -> None:
        """Send the ends of tasks that ended before the WAIT, as fast as the client reads."""
        if ids:
            self._late.append((request, deque(ids)))
            self._tell_late()

    def all_ended(self, request: int) -> None:
        """Answer a WAIT, after the ends of all its tasks."""
        if self._late:
            self._late.append((request, deque()))
        else:
            self.answer(request)

    def forget(self, request: int) -> None:
        """Drop the unsent ends of a WAIT."""
        if self._late:
            self._late = deque(item for item in self._late if item[0] != request)

    def _tell_late(self) -> None:
        """Send ends while there is room. Each is read from disk only then."""
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
        """Send changes to the subscription."""
        if self.subscription is not None:
            for part in parts(rows, _size):
                self._push((Answer.EVENT, self.subscription[0], part))

    def goodbye(self, reason: str) -> None:
        """Tell the client that the supervisor stops."""
        self._push((Answer.GOODBYE, reason))
        self.flush()

    def _push(self, frame: Any) -> None:
        data = encode(frame)
        self._out.append(data)
        self._out_size += len(data)

    def flush(self) -> None:
        """Send the buffered answers, then continue with late ends and waiting requests if there is room."""
        self._write()
        if not self._choked:
            if self._late:
                self._tell_late()
                self._write()
            if not self._reads:
                self._go_on()

    def _write(self) -> None:
        if self._answers:
            self._push_answers()
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            waiting = self._transport.get_write_buffer_size()
            if waiting > 0 and waiting + len(data) > self._unread_limit:
                log.error("a client does not read its answers: %d MiB wait; disconnecting it", waiting >> 20)
                self._transport.abort()
                return
            self._transport.write(data)

    @property
    def _choked(self) -> bool:
        """Whether the client must read before more is sent."""
        return self._transport is not None and (
            self._out_size + self._transport.get_write_buffer_size() >= UNREAD_HIGH
        )

    def resume_writing(self) -> None:
        """The client has read (see asyncio.Protocol)."""
        self.flush()

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(UNREAD_HIGH - 1, UNREAD_HIGH // 4)
        # A client in this process has none.
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            if not peer_uid_ok(sock, self._group):
                log.error("refused a connection from a process of another user")
                transport.abort()
                return
            widen(sock)
        try:
            self._service.admit(self)
        except UnderstudyError as error:
            log.warning("refused a client: %s", error)
            self.refuse(0, error)
            self.close()

    def data_received(self, data: bytes | memoryview) -> None:
        try:
            new = self._decoder.feed(data)
        except ProtocolError as error:
            self._distrust(error)
            return
        # Frames left from the last read come first.
        self._frames = chain(self._frames, new) if not self._reads else new
        self._take_frames()

    def _take_frames(self) -> None:
        try:
            for frame in self._frames:
                self._take(frame)
                if self._choked:
                    # The client has too many unread bytes: the rest waits, here and in its socket.
                    self._reads = False
                    self._settle_reading()
                    return
        except ProtocolError as error:
            self._distrust(error)
        except MALFORMED as error:
            self.reject(error)

    def _go_on(self) -> None:
        """Handle the frames that have waited, then read more."""
        self._reads = True
        self._take_frames()
        self._settle_reading()

    def _distrust(self, error: ProtocolError) -> None:
        log.warning("a client sent bytes that are not of this protocol: %s", error)
        self._end(error)

    def reject(self, error: Exception) -> None:
        """End the connection with an error, because a frame had a wrong number or kind of fields."""
        log.warning("a client sent an invalid frame: %r", error)
        self._end(ProtocolError(f"an invalid frame: {error!r:.200}"))

    def _take(self, frame: tuple[Any, ...]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._greeted:
            request = frame[1]
            if type(request) is not int:
                raise ProtocolError(f"a request's number must be an int: {request!r:.100}")
            self._service.asked(self, frame)
        elif frame[0] == Ask.HELLO and len(frame) == 2:
            check_version(frame[1], "client", "supervisor")
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
        """Stop or continue reading requests."""
        self._may_read = go_on
        self._settle_reading()

    def _settle_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if self._may_read and self._reads:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def close(self) -> None:
        """Close the connection after everything has been sent."""
        self.flush()
        if self._transport is not None:
            self._transport.close()


def _size_of_answer(answer: tuple[int, Any]) -> int:
    return 10 + len(answer[1] or b"")


def _size(row: Any) -> int:
    """Approximate bytes of a row of ENDED or EVENT. The large part is the third field of ENDED, the value."""
    return 200 + (len(row[2]) if isinstance(row[2], bytes) else 0)

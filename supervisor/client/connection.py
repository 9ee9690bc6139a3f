"""Connection: one socket from a client to a supervisor. `ReconnectingClient` replaces it when it breaks."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from ...actors.attempt.helper_threads import start_outside
from ...actors.errors import NotRunning, ProtocolError, SupervisorLost, UnderstudyError
from ...actors.values import VALUE_LIMIT
from ..home import Home
from ..wire.codec import VERSION, Decoder, encode
from ..wire.error_codec import error_of
from ..wire.messages import Answer, Ask
from ..wire.socket_buffers import READ_SIZE, read_buffer, widen

#: Seconds that connecting and the first answer may take.
CONNECT_TIMEOUT: Final = 10.0

Rows = Sequence[tuple[bytes, str, bytes | None, Any]]
"""(id, state, encoded value, error row) of tasks that have ended."""


class Reply(Future[Any]):
    """The future answer to a request."""

    number = 0
    """The request's number on its connection."""


class Connection:
    """Requests from any number of threads, pipelined. A thread of the connection reads the answers.

    Guarantee: every request's reply is set, with the answer or with SupervisorLost, even if the socket breaks.
    Only forgotten replies are not set.
    """

    def __init__(self, home: Home, on_lost: Callable[[Connection, UnderstudyError], None]) -> None:
        """Connect and say hello. Raises NotRunning, HomeError, ProtocolError."""
        self._on_lost = on_lost
        try:
            self._sock = home.connect(CONNECT_TIMEOUT)
        except TimeoutError as error:
            raise NotRunning(f"the supervisor does not answer: {error}") from error
        widen(self._sock)
        self._decoder = Decoder(
            VALUE_LIMIT
        )  # Only for the first answer; later ones have this supervisor's limit.
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._requests: dict[int, Reply] = {}
        self._waits: dict[int, Callable[[Rows], None]] = {}
        self._on_event: Callable[[Rows], None] | None = None
        self._reason = ""
        #: The error that ended the connection; None while it works.
        self.lost: UnderstudyError | None = None
        self._closing = False
        #: Facts from the supervisor's WELCOME: pid, embedded, settings.
        self.facts: dict[str, Any] = self._greet()
        #: Bytes that the supervisor allows for one encoded value.
        self.value_limit: int = self.facts["settings"]["value_limit"]
        self._thread = threading.Thread(target=self._read, name="understudy-client", daemon=True)
        start_outside(self._thread)

    def _greet(self) -> dict[str, Any]:
        self._sock.settimeout(CONNECT_TIMEOUT)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # Its reason can still be read.
                self._sock.sendall(encode((Ask.HELLO, VERSION)))
            while data := self._sock.recv(READ_SIZE):
                for frame in self._decoder.feed(data):
                    if frame[0] == Answer.WELCOME:
                        self._sock.settimeout(None)
                        facts = dict(frame[2])
                        self._decoder = Decoder(facts["settings"]["value_limit"])
                        return facts
                    if frame[0] == Answer.ERROR:
                        raise error_of(*frame[2:5])
        except OSError as error:
            self._sock.close()
            raise NotRunning(f"the supervisor does not answer: {error}") from error
        except UnderstudyError:
            self._sock.close()
            raise
        self._sock.close()
        raise NotRunning(
            "the supervisor closed the connection at once; it is stopping, or runs as another user"
        )

    def request(self, op: Ask, *fields: Any, on_rows: Callable[[Rows], None] | None = None) -> Reply:
        """Send a request; the reply gives the answer. The reading thread calls `on_rows` with ENDED rows."""
        future = Reply()
        future.number = number = next(self._numbers)
        data = encode((op, number, *fields))
        with self._sending:
            if self.lost is not None:
                future.set_exception(self.lost)
                return future
            self._requests[number] = future
            if on_rows is not None:
                self._waits[number] = on_rows
            try:
                self._sock.sendall(data)
            except OSError:
                # The reading thread gets the same error and sets this future with all others.
                self._hang_up()
            except BaseException:
                # Ctrl-C: part of the frame may be sent, and the next frame would be read as its rest.
                self._hang_up()
                raise
        return future

    def subscribe(self, task: str | None, stream: bytes | None, on_event: Callable[[Rows], None]) -> None:
        """Have the reading thread call `on_event` with events.

        No event after the return of this call is missed.
        """
        self._on_event = on_event
        self.request(Ask.SUBSCRIBE, task, stream).result()

    def forget(self, wait: Reply) -> None:
        """End a WAIT on both sides; its reply is not set."""
        with self._sending:
            if self._requests.pop(wait.number, None) is None or self.lost is not None:
                return
            self._waits.pop(wait.number, None)
            try:
                self._sock.sendall(encode((Ask.UNWAIT, wait.number)))
            except OSError:
                self._hang_up()

    def abandon(self) -> None:
        """Mark as lost in a fork: the socket belongs to the parent, and this process needs one of its own."""
        self._closing = True
        self.lost = SupervisorLost("this process was forked and needs a connection of its own")
        self._sock.close()

    def close(self) -> None:
        """Close the socket and wait for the reading thread."""
        self._closing = True
        self._hang_up()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _hang_up(self) -> None:
        with suppress(OSError):  # Already disconnected.
            self._sock.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        error: UnderstudyError | None = None
        buffer = read_buffer()
        try:
            while size := self._sock.recv_into(buffer):
                for frame in self._decoder.feed(buffer[:size]):
                    self._take(frame)
        except OSError:
            pass
        except UnderstudyError as broken:
            error = broken
        except Exception as broken:  # noqa: BLE001 - after any error, all waiting requests must be answered
            error = ProtocolError(f"the supervisor sent an invalid frame: {broken!r}")
        self._end(error)

    def _take(self, frame: tuple[Any, ...]) -> None:
        match frame[0]:
            case Answer.OK:
                self._waits.pop(frame[1], None)
                future = self._requests.pop(frame[1], None)
                if future is not None:
                    future.set_result(frame[2])
            case Answer.ENDED:
                on_rows = self._waits.get(frame[1])
                if on_rows is not None:
                    on_rows(frame[2])
            case Answer.ERROR:
                error = error_of(*frame[2:5])
                self._waits.pop(frame[1], None)
                future = self._requests.pop(frame[1], None)
                if future is not None:
                    future.set_exception(error)
                elif frame[1] == 0:
                    # About the whole connection, which the supervisor closes now.
                    raise error
            case Answer.EVENT:
                if self._on_event is not None:
                    self._on_event(frame[2])
            case Answer.GOODBYE:
                self._reason = frame[1]

    def _end(self, error: UnderstudyError | None) -> None:
        if error is None:
            why = self._reason or ("the connection was closed" if self._closing else "its connection broke")
            error = SupervisorLost(
                f"the connection to the supervisor was lost ({why}); the call may or may not have taken effect"
            )
        with self._sending:
            self.lost = error
            pending, self._requests = self._requests, {}
            self._waits.clear()
        self._sock.close()
        for future in pending.values():
            future.set_exception(error)
        if not self._closing:
            self._on_lost(self, error)

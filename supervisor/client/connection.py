"""Connection: one socket from a client to a supervisor. `ReconnectingClient` replaces it when it breaks."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Protocol, Self

from ...actors.attempt.helper_threads import start_outside
from ...actors.clock import SYSTEM, Clock, TimedFuture, Wakeup
from ...actors.errors import ConnectTimeout, NotRunning, ProtocolError, SupervisorLost, UnderstudyError
from ...actors.refs.letter import Kind, kind_of
from ...actors.values import VALUE_LIMIT
from ..home import Home
from ..wire.codec import VERSION, Decoder, check_version, encode
from ..wire.error_codec import error_of
from ..wire.messages import Answer, Ask
from ..wire.socket_buffers import READ_SIZE, read_buffer, widen

#: Seconds that connecting and the first answer may take.
CONNECT_TIMEOUT: Final = 10.0
#: Bytes waiting to be sent from which on callers that send many requests wait.
UNSENT: Final = 1024 * 1024
#: Seconds within which a request follows another one, so that it may wait for more; requests, and bytes of one, from
#: which on they are sent.
FOLLOWS: Final = 0.0001
GATHERED: Final = 64
GATHERED_BYTES: Final = 16 * 1024
#: Ids of received replies that are kept until the next ASK tells the supervisor of them. More need no telling: a reply
#: that nobody has confirmed is forgotten after a while.
SEEN_LIMIT: Final = 1_000

Rows = Sequence[tuple[bytes, str, bytes | None, Any]]
"""(id, state, encoded value, error row) of tasks that have ended."""


LetterRow = tuple[int, bytes, bytes]
"""(request, actor's id, letter)."""


def take_all(ids: deque[bytes]) -> list[bytes]:
    """All of these, taken out."""
    taken: list[bytes] = []
    with suppress(IndexError):
        while ids:
            taken.append(ids.popleft())
    return taken


class Asking(Protocol):
    """The one who has sent a request, and gets its answer or an error."""

    number: int
    """The request's number on its connection."""
    connection: Connection | None
    """The connection on which it was sent last."""

    def answered(self, connection: Connection, payload: Any) -> None:
        """The answer has come on this connection. Called by the thread that reads, so it must not wait."""

    def refused(self, connection: Connection, error: UnderstudyError) -> None:
        """An error has come instead, or the connection was lost."""


class Reply(TimedFuture[Any]):
    """The future answer to a request."""

    number = 0
    connection: Connection | None = None

    def answered(self, connection: Connection, payload: Any) -> None:
        """See `Asking`."""
        self.set_result(payload)

    def refused(self, connection: Connection, error: UnderstudyError) -> None:
        """See `Asking`."""
        self.set_exception(error)

    def drop(self) -> None:
        """Wait for the answer no longer. The request may still take effect."""
        if self.connection is not None and not self.done():
            self.connection.drop(self)


class Connection:
    """Requests from any number of threads, pipelined. A thread of the connection reads the answers.

    Guarantees:

    * Every request's reply is set, with the answer or with SupervisorLost, even if the socket breaks. Only forgotten
      and dropped replies are not set.
    * `request` does not block. What the socket does not take at once waits in memory; another thread sends it.
    """

    _clock: Clock = SYSTEM

    def __init__(self, home: Home, on_lost: Callable[[Connection, UnderstudyError], None]) -> None:
        """Nothing happens before `open`. The reading thread calls `on_lost` if the connection breaks."""
        self._home = home
        self._on_lost = on_lost
        self._sock: socket.socket | None = None
        # Only for the first answer; later ones have this supervisor's limit.
        self._decoder = Decoder(VALUE_LIMIT)
        # Held while sending, so that frames are sent in their order.
        self._sending = threading.Lock()
        # Guards the frames that gather, and `lost`; never held while sending.
        self._mutex = threading.Lock()
        self._numbers = itertools.count(1)
        self._requests: dict[int, Asking] = {}
        #: Frames and letters to send, in order, and when the last one was added.
        self._gathered: list[bytes | LetterRow] = []
        self._gathered_at = 0.0
        #: Frames that end waits, to be sent behind those.
        self._forgotten: deque[bytes] = deque()
        #: The letters whose replies were received and not confirmed yet.
        self.seen: deque[bytes] = deque(maxlen=SEEN_LIMIT)
        #: Wakes the thread that sends what gathers; None before the first time.
        self._sender: Wakeup | None = None
        self._waits: dict[int, Callable[[Rows], None]] = {}
        self._on_event: Callable[[Rows], None] | None = None
        self._reason = ""
        #: The error that ended the connection; None while it works.
        self.lost: UnderstudyError | None = None
        self._closing = False
        #: What the socket has not taken yet, and its bytes; a thread sends it.
        self._unsent: deque[memoryview] = deque()
        self._unsent_bytes = 0
        self._rooms: list[Future[None]] = []
        #: Facts from the supervisor's WELCOME: pid, embedded, settings.
        self.facts: dict[str, Any] = {}
        #: Bytes that the supervisor allows for one encoded value.
        self.value_limit: int = VALUE_LIMIT
        self._thread: threading.Thread | None = None

    def open(self, timeout: float = CONNECT_TIMEOUT) -> Self:
        """Connect and say hello. Raises NotRunning, HomeError, ProtocolError.

        `close` from another thread ends it early, with NotRunning.
        """
        deadline = time.monotonic() + timeout
        try:
            self._sock = sock = self._home.connect(timeout)
        except TimeoutError as error:
            raise ConnectTimeout(f"the supervisor does not answer: {error}") from error
        widen(sock)
        self.facts = self._greet(sock, deadline)
        self.value_limit = self.facts["settings"]["value_limit"]
        thread = threading.Thread(target=self._read, args=(sock,), name="understudy-client", daemon=True)
        start_outside(thread)
        # Only now: `close` in another thread can join only what was started.
        self._thread = thread
        return self

    def _greet(self, sock: socket.socket, deadline: float) -> dict[str, Any]:
        try:
            if self._closing:
                raise NotRunning("the connection was closed while it was made")
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            with suppress(BrokenPipeError, ConnectionResetError):  # Its reason can still be read.
                sock.sendall(encode((Ask.HELLO, VERSION)))
            while data := sock.recv(READ_SIZE):
                for frame in self._decoder.feed(data):
                    if frame[0] == Answer.WELCOME:
                        check_version(frame[1], "supervisor", "client")
                        sock.settimeout(None)
                        facts = dict(frame[2])
                        self._decoder = Decoder(facts["settings"]["value_limit"])
                        return facts
                    if frame[0] == Answer.ERROR:
                        raise error_of(*frame[2:5])
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
        except OSError as error:
            sock.close()
            if isinstance(error, UnderstudyError):
                raise
            kind = ConnectTimeout if isinstance(error, TimeoutError) else NotRunning
            raise kind(f"the supervisor does not answer: {error}") from error
        except UnderstudyError:
            sock.close()
            raise
        sock.close()
        raise NotRunning(
            "the supervisor closed the connection at once; it is stopping, or runs as another user"
        )

    def request(self, op: Ask, *fields: Any, on_rows: Callable[[Rows], None] | None = None) -> Reply:
        """Send a request; the reply gives the answer. The reading thread calls `on_rows` with ENDED rows."""
        reply = Reply(self._clock)
        self.post(reply, op, fields, on_rows=on_rows)
        return reply

    def post(
        self,
        asking: Asking,
        op: Ask,
        fields: tuple[Any, ...],
        *,
        soon: bool = False,
        on_rows: Callable[[Rows], None] | None = None,
    ) -> None:
        """As `request`, for one who gets the answer. Nothing if it was sent on this connection before.

        `soon`: it may wait for a moment for others, so that one send carries many. It goes with the next request, or
        by `flush`, or by another thread.
        """
        number = next(self._numbers)
        data = encode((op, number, *fields))
        self._gather(asking, number, data, len(data), soon=soon, on_rows=on_rows)

    def post_letter(self, asking: Asking, id: bytes, letter: bytes) -> None:
        """As `post`, for a letter to an actor that is sent for the first time, under an id that nobody else knows.

        It may wait for others.
        """
        number = next(self._numbers)
        self._gather(asking, number, (number, id, letter), len(letter), soon=True)

    def _gather(
        self,
        asking: Asking,
        number: int,
        what: bytes | LetterRow,
        size: int,
        *,
        soon: bool,
        on_rows: Callable[[Rows], None] | None = None,
    ) -> None:
        with self._mutex:
            lost = self.lost
            if asking.connection is self:
                return
            asking.number, asking.connection = number, self
            if lost is None:
                self._requests[number] = asking
                if on_rows is not None:
                    self._waits[number] = on_rows
                self._gathered.append(what)
                soon = soon and self._may_gather(size)
        if lost is not None:
            asking.refused(self, lost)
        elif not soon or self._forgotten:
            self.flush()

    def _may_gather(self, size: int) -> bool:
        """Whether a frame that was just added may wait for others. Called under the mutex."""
        now = time.monotonic()
        follows, self._gathered_at = now - self._gathered_at < FOLLOWS, now
        if not follows or size > GATHERED_BYTES or len(self._gathered) >= GATHERED:
            return False
        if len(self._gathered) == 1:
            self._wake_sender()
        return True

    def flush(self) -> None:
        """Send what has gathered."""
        with self._sending:
            with self._mutex:
                gathered = self._take_gathered()
            self._send_frames(gathered)
        self._flush_forgotten()

    def _flush_forgotten(self) -> None:
        """Send what has gathered if that ends waits, without waiting for a lock: who has it does this behind it."""
        while self._forgotten and self._sending.acquire(blocking=False):
            try:
                if not self._mutex.acquire(blocking=False):
                    return
                try:
                    gathered = self._take_gathered()
                finally:
                    self._mutex.release()
                self._send_frames(gathered)
            finally:
                self._sending.release()

    def _take_gathered(self) -> list[bytes | LetterRow]:
        gathered, self._gathered = self._gathered, []
        # Behind the requests that they end.
        while self._forgotten:
            gathered.append(self._forgotten.popleft())
        return gathered

    def _send_frames(self, gathered: list[bytes | LetterRow]) -> None:
        if gathered and self.lost is None:
            self._send(b"".join(self._frames(gathered)))

    def _frames(self, gathered: list[bytes | LetterRow]) -> Iterator[bytes]:
        """The frames; letters that stand side by side are one."""
        letters: list[LetterRow] = []
        for what in gathered:
            if isinstance(what, bytes):
                if letters:
                    yield self._frame_of(letters)
                    letters = []
                yield what
            else:
                letters.append(what)
        if letters:
            yield self._frame_of(letters)

    def _frame_of(self, letters: list[LetterRow]) -> bytes:
        number, id, letter = letters[0]
        if len(letters) > 1:
            return encode((Ask.LETTERS, number, letters, take_all(self.seen)))
        if kind_of(letter) == Kind.TELL:
            return encode((Ask.TELL, number, [(id, letter)]))
        return encode((Ask.ASK, number, id, letter, take_all(self.seen)))

    def _wake_sender(self) -> None:
        if self._sender is None:
            self._sender = self._clock.wakeup()
            start_outside(
                threading.Thread(
                    target=self._send_gathered,
                    args=(self._sender,),
                    name="understudy-client-gathers",
                    daemon=True,
                )
            )
        self._sender.ring()

    def _send_gathered(self, wakeup: Wakeup) -> None:
        while self.lost is None:
            wakeup.wait()
            self.flush()

    @property
    def traces(self) -> bool:
        """Whether the supervisor has tasks traced."""
        return bool(self.facts["settings"].get("traces"))

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be sent that callers should wait for `room` first."""
        return self._unsent_bytes >= UNSENT and self.lost is None

    def room(self) -> Future[None]:
        """A future that is set when less than UNSENT bytes wait to be sent."""
        future: Future[None] = Future()
        with self._sending:
            if is_full := self.is_full:
                self._rooms.append(future)
        self._flush_forgotten()
        if not is_full:
            future.set_result(None)
        return future

    def _send(self, data: bytes) -> None:
        """Send frames, or keep what the socket does not take. Called under the lock."""
        assert self._sock is not None
        sent = 0
        try:
            if not self._unsent:
                try:
                    sent = self._sock.send(data, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass
            if sent < len(data):
                self._keep(memoryview(data)[sent:])
        except OSError:
            # The reading thread gets the same error and sets this future with all others.
            self.hang_up()
        except BaseException:
            # Ctrl-C: part of the frame may be sent, and the next frame would be read as its rest.
            self.hang_up()
            raise

    def _keep(self, data: memoryview) -> None:
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if len(self._unsent) == 1:
            start_outside(
                threading.Thread(target=self._send_rest, name="understudy-client-sends", daemon=True)
            )

    def _send_rest(self) -> None:
        """Send what was kept, in a thread that ends with it. The first entry stays until it is sent, for the order."""
        assert self._sock is not None
        while True:
            data = self._unsent[0]
            try:
                self._sock.sendall(data)
            except OSError:
                # The reading thread ends the connection.
                self.hang_up()
                return
            with self._sending:
                self._unsent.popleft()
                self._unsent_bytes -= len(data)
                over = not self._unsent
                rooms: list[Future[None]] = []
                if not self.is_full:
                    rooms, self._rooms = self._rooms, rooms
            self._flush_forgotten()
            for room in rooms:
                room.set_result(None)
            if over:
                return

    def subscribe(
        self, task: str | None, stream: bytes | None, progress: bool, on_event: Callable[[Rows], None]
    ) -> Future[Any]:
        """Have the reading thread call `on_event` with events.

        No event is missed after the future is set.
        """
        self._on_event = on_event
        return self.request(Ask.SUBSCRIBE, task, stream, progress)

    def forget(self, asking: Asking, op: Ask = Ask.UNWAIT) -> None:
        """End a wait on both sides, by UNWAIT or UNASK; no answer will come.

        It waits for no lock, so the garbage collector may end a generator that waits, in a thread that holds one.
        """
        if self._requests.pop(asking.number, None) is None or self.lost is not None:
            return
        self._waits.pop(asking.number, None)
        self._forgotten.append(encode((op, asking.number)))
        self._flush_forgotten()

    def drop(self, asking: Asking) -> None:
        """Wait for this answer no longer; it will not come."""
        self._requests.pop(asking.number, None)

    def abandon(self) -> None:
        """Mark as lost in a fork: the socket belongs to the parent, and this process needs one of its own."""
        self._closing = True
        self.lost = SupervisorLost("this process was forked and needs a connection of its own")
        if self._sock is not None:
            self._sock.close()

    def close(self) -> None:
        """Close the socket and wait for the reading thread."""
        if self._thread is not None:
            self.flush()
        self._closing = True
        self.hang_up()
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def hang_up(self) -> None:
        """End the connection without waiting. It takes no lock, so a finalizer may call it."""
        if self._sock is not None:
            with suppress(OSError):  # Already disconnected.
                self._sock.shutdown(socket.SHUT_RDWR)

    def _read(self, sock: socket.socket) -> None:
        error: UnderstudyError | None = None
        buffer = read_buffer()
        try:
            while size := sock.recv_into(buffer):
                for frame in self._decoder.feed(buffer[:size]):
                    self._take(frame)
        except OSError:
            pass
        except UnderstudyError as broken:
            error = broken
        except Exception as broken:  # noqa: BLE001 - after any error, all waiting requests must be answered
            error = ProtocolError(f"the supervisor sent an invalid frame: {broken!r}")
        self._end(sock, error)

    def _take(self, frame: tuple[Any, ...]) -> None:
        match frame[0]:
            case Answer.OK:
                self._waits.pop(frame[1], None)
                asking = self._requests.pop(frame[1], None)
                if asking is not None:
                    asking.answered(self, frame[2])
            case Answer.ANSWERS:
                pop = self._requests.pop
                for number, payload in frame[1]:
                    asking = pop(number, None)
                    if asking is not None:
                        asking.answered(self, payload)
            case Answer.ENDED:
                on_rows = self._waits.get(frame[1])
                if on_rows is not None:
                    on_rows(frame[2])
            case Answer.ERROR:
                error = error_of(*frame[2:5])
                self._waits.pop(frame[1], None)
                asking = self._requests.pop(frame[1], None)
                if asking is not None:
                    asking.refused(self, error)
                elif frame[1] == 0:
                    # About the whole connection, which the supervisor closes now.
                    raise error
            case Answer.EVENT:
                if self._on_event is not None:
                    self._on_event(frame[2])
            case Answer.GOODBYE:
                self._reason = frame[1]

    def _end(self, sock: socket.socket, error: UnderstudyError | None) -> None:
        if error is None:
            why = self._reason or ("the connection was closed" if self._closing else "its connection broke")
            error = SupervisorLost(
                f"the connection to the supervisor was lost ({why}); the call may or may not have taken effect"
            )
        self._fail(error, sock)

    def _fail(self, error: UnderstudyError, sock: socket.socket | None = None) -> None:
        """End all requests with this error."""
        with self._sending, self._mutex:
            self.lost = error
            pending, self._requests = self._requests, {}
            self._waits.clear()
            self._gathered.clear()
            self._forgotten.clear()
            rooms, self._rooms = self._rooms, []
        if self._sender is not None:
            self._sender.ring()
        self.hang_up()  # Wakes the thread that sends.
        if sock is not None:
            sock.close()
        for asking in list(pending.values()):
            asking.refused(self, error)
        for room in rooms:
            room.set_result(None)
        if not self._closing:
            self._on_lost(self, error)

"""`ReportBuffer`, which gathers a worker's reports so that one send carries many.

Requests, and results of a worker that has no more tasks, are sent at once, because their receiver waits for
them. Log lines are sent within `LOG_LINGER` seconds and all other reports within `LINGER` seconds, by a
thread that sleeps while the buffer is empty. Log lines of a task are never sent after its next acknowledgement,
checkpoint or end.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from ...actors.clock import SYSTEM, Clock
from ..wire.codec import encode, parts
from ..wire.messages import Report

#: Seconds for which results, acknowledgements and other reports of tasks may gather.
LINGER: Final = 0.005
#: Seconds for which log lines may gather, and how many characters of them.
LOG_LINGER: Final = 0.05
LOG_GATHERED: Final = 64 * 1024
#: Number of results at which the thread that adds the last one sends them itself.
DONE_GATHERED: Final = 64
#: Approximate bytes of a log line in addition to its text.
_LINE: Final = 16


class Watched(Protocol):
    """An attempt that may take long; see `ReportBuffer.watch`."""

    @property
    def id(self) -> bytes: ...

    def takes_long(self) -> bool:
        """Whether it need not be called again."""


class Outlet(Protocol):
    """Where the reports go: a socket."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it. OSError if nobody is there to read it."""


class Signal(Protocol):
    """Says that there is something to send; an event."""

    def is_set(self) -> bool:
        """Whether it was said."""

    def set(self) -> None:
        """Say it."""


class ReportBuffer:
    """The buffer. Any thread may call any method.

    A report `of` an attempt counts only while that attempt is in `attempts`. Checking this and queueing the
    report happen under one lock, and an attempt leaves `attempts` before its end is reported. So no report of
    an attempt can follow its end, where it would be taken for a report of the task's next attempt.
    """

    def __init__(
        self,
        sock: Outlet,
        on_broken: Callable[[], None] = lambda: None,
        attempts: Mapping[bytes, object] = MappingProxyType({}),
        clock: Clock = SYSTEM,
    ) -> None:
        """`on_broken` is called by the thread whose send fails. `attempts`: the current ones by task id."""
        self._sock = sock
        self._clock = clock
        self._on_broken = on_broken
        self._attempts = attempts
        self._watched: set[Watched] = set()
        # Guards the gathered reports; never held while sending.
        self._mutex = threading.Lock()
        # Held while gathering and sending, so that reports are sent in their order.
        self._sending = threading.Lock()
        self._done: list[Any] = []
        self._parked: dict[bytes, bool] = {}
        self._taken: dict[bytes, tuple[int, int]] = {}
        self._progress: dict[bytes, tuple[float, float | None, str]] = {}
        self._requests: list[Any] = []
        self._logs: dict[bytes, list[tuple[float, str, str]]] = {}
        #: Of tasks that have published: frames of lines and items in their order.
        self._told: dict[bytes, list[tuple[Report, bytes, list[Any]]]] = {}
        self._log_size = 0
        self._log_due = 0.0
        self._closed = False
        self._some = self._begin()

    def _begin(self) -> Signal:
        """Have what gathers sent soon after the signal that is returned."""
        some = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(some,), name="understudy-reports", daemon=True
        )
        self._thread.start()
        return some

    # --- gathering ---

    def done(self, row: tuple[Any, ...], *, held: bool = False) -> None:
        """Report the end of an attempt.

        `held`: the calling thread calls `flush` or `send_soon` before it does anything that may take long. So the end
        of a single task, or turn of an actor, does not wake the thread that sends.
        """
        self._done.append(row)
        if len(self._done) >= DONE_GATHERED:
            self.flush()
        elif not held:
            self.send_soon()

    def send_soon(self) -> None:
        """Have results sent that were held."""
        if not self._some.is_set():
            self._some.set()

    def parked(self, id: bytes, parked: bool, of: object = None) -> None:
        """Report that a task waits or continues. Only the last report counts."""
        with self._mutex:
            if self._counts(id, of):
                self._parked[id] = parked
        self._some.set()

    def watch(self, attempt: Watched) -> None:
        """Call `attempt.takes_long` some milliseconds from now and again, until it returns True or the attempt ends."""
        with self._mutex:
            self._watched.add(attempt)
        if not self._some.is_set():
            self._some.set()

    def _look(self) -> None:
        """Do what was asked with `watch`."""
        with self._mutex:
            watched = [each for each in self._watched if self._attempts.get(each.id) is each]
            self._watched.intersection_update(watched)
        for each in watched:
            if each.takes_long():
                with self._mutex:
                    self._watched.discard(each)
            else:
                self._some.set()

    def took(self, id: bytes, taken: int, acked: int, of: object = None) -> None:
        """Report the numbers of the messages that a task has taken and acknowledged."""
        with self._mutex:
            if self._counts(id, of):
                self._taken[id] = (taken, acked)
        if not self._some.is_set():
            self._some.set()

    def progress(self, id: bytes, done: float, total: float | None, note: str, of: object = None) -> None:
        """Report a task's progress."""
        with self._mutex:
            if self._counts(id, of):
                self._progress[id] = (done, total, note)
        self._some.set()

    def log(self, id: bytes, level: str, text: str, at: float | None = None, of: object = None) -> bool:
        """Add a line to a task's log; `at` is in seconds since the epoch, None for now. False if the attempt is over.

        This is the back-pressure: a task that prints faster than the supervisor reads waits here.
        """
        at = self._clock.time() if at is None else at
        with self._mutex:
            if not self._counts(id, of):
                return False
            first = not self._logs
            if first:
                self._log_due = self._clock.monotonic() + LOG_LINGER
            if id in self._told:
                self._tell(Report.LOG, id).append((at, level, text))
            else:
                self._logs.setdefault(id, []).append((at, level, text))
            self._log_size += _LINE + len(text)
            much = self._log_size >= LOG_GATHERED
        if much:
            self.flush()
        elif first:
            # Wake the thread, so that it sleeps no longer than until `_log_due`.
            self._some.set()
        return True

    def publish(self, id: bytes, body: bytes, of: object = None) -> bool:
        """Add an item that a task publishes, behind the lines that it has printed. False if the attempt is over.

        This is the back-pressure, as in `log`.
        """
        with self._mutex:
            if not self._counts(id, of):
                return False
            if id in self._logs:
                self._told[id] = [(Report.LOG, id, self._logs.pop(id))]
            self._tell(Report.PUBLISH, id).append(body)
            self._log_size += _LINE + len(body)
            much = self._log_size >= LOG_GATHERED
        if much:
            self.flush()
        elif not self._some.is_set():
            self._some.set()
        return True

    def _tell(self, op: Report, id: bytes) -> list[Any]:
        """The list that takes the next line or item of a task that has published."""
        frames = self._told.setdefault(id, [])
        if not frames or frames[-1][0] is not op:
            frames.append((op, id, []))
        return frames[-1][2]

    def request(
        self, frame: tuple[Any, ...], id: bytes = b"", of: object = None, *, now: bool = True
    ) -> bool:
        """Send a request at once. False if its attempt is no longer current: there will be no answer.

        Without `now` it goes with the next results. The caller adds one right after it.
        """
        with self._mutex:
            counts = self._counts(id, of)
            if counts:
                self._requests.append(frame)
        if now:
            self.flush()
        return counts

    def _counts(self, id: bytes, of: object) -> bool:
        return of is None or self._attempts.get(id) is of

    @property
    def has_results(self) -> bool:
        """Whether results wait to be sent."""
        return bool(self._done)

    # --- sending ---

    def flush(self) -> None:
        """Send all gathered reports now."""
        with self._sending:
            data = self._gathered(logs=True)
            if data:
                self._send(data)

    def _gathered(self, *, logs: bool) -> bytes:
        """Frames in the order that the supervisor needs: a task's lines come first, an attempt's end comes last."""
        with self._mutex:
            # Keep the same list: another thread may be about to append to it.
            done = self._done[:]
            del self._done[: len(done)]
            parked, self._parked = self._parked, {}
            taken, self._taken = self._taken, {}
            progress, self._progress = self._progress, {}
            requests, self._requests = self._requests, []
            # A task's lines go before what it did after them: a kill must not lose only the lines.
            published, self._told = self._told, {}
            told = {*taken, *(row[0] for row in done)} if self._logs and not logs else ()
            lines = {id: kept for id, kept in self._logs.items() if logs or id in told}
            if lines:
                self._logs = {id: kept for id, kept in self._logs.items() if id not in lines}
            if lines or published:
                self._log_size = sum(_LINE + len(text) for kept in self._logs.values() for _, _, text in kept)
        frames: list[Any] = [(Report.LOG, id, entries) for id, entries in lines.items()]
        if published:
            frames += _bounded(published)
        if progress:
            frames.append((Report.PROGRESS, [(id, *said) for id, said in progress.items()]))
        if parked:
            waiting = [id for id, waits in parked.items() if waits]
            frames.append((Report.PARKED, waiting, [id for id, waits in parked.items() if not waits]))
        if taken:
            frames.append((Report.TAKEN, [(id, *numbers) for id, numbers in taken.items()]))
        frames += requests
        frames += [(Report.DONE, part) for part in parts(done, _size)]
        return b"".join(map(encode, frames))

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            # The supervisor is gone, or a task has closed the socket. The reading thread may notice late.
            self._closed = True
            self._on_broken()

    def _run(self, some: threading.Event) -> None:
        try:
            while not self._closed:
                some.wait(max(0.0, self._log_due - time.monotonic()) if self._logs else None)
                some.clear()
                time.sleep(LINGER)
                if self._watched:
                    self._look()
                with self._sending:
                    data = self._gathered(logs=time.monotonic() >= self._log_due)
                    if data:
                        self._send(data)
        except Exception:  # noqa: BLE001 - after any error nothing would be reported any more
            traceback.print_exc()
            self._on_broken()

    def close(self) -> None:
        """Send the remaining reports and end the thread."""
        self.flush()
        self._closed = True
        self._some.set()
        self._thread.join()


def _bounded(published: dict[bytes, list[tuple[Report, bytes, list[Any]]]]) -> Iterator[tuple[Any, ...]]:
    """The frames, parted where the items of one take too many bytes."""
    for frames in published.values():
        for op, id, entries in frames:
            for part in parts(entries, item_size) if op is Report.PUBLISH else (entries,):
                yield op, id, part


def item_size(body: bytes) -> int:
    """Approximate bytes of an item."""
    return _LINE + len(body)


def _size(row: tuple[Any, ...]) -> int:
    """Approximate bytes of a result."""
    _, _, value, error, *_ = row
    return 200 + len(value or b"") + (len(error[1]) + len(error[2]) if error else 0)

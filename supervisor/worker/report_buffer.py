"""What a worker has to report, gathered so that one send carries much, and sent before anybody waits for it.

Sent at once: what somebody waits for (requests, the results of a worker that has run out of tasks). Sent within
`LINGER` seconds: everything else, by a thread that sleeps while there is nothing. Log lines may gather longer.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ..wire.codec import encode, parts
from ..wire.messages import Report

#: Seconds that results, acknowledgements and news of waiting tasks may gather.
LINGER: Final = 0.005
#: Seconds, and characters, of log lines that may gather.
LOG_LINGER: Final = 0.05
LOG_GATHERED: Final = 64 * 1024
#: Results after which the thread that made the last one sends them itself.
DONE_GATHERED: Final = 64
#: Bytes of a log line beside its text, roughly.
_LINE: Final = 16


class ReportBuffer:
    """Everything may be called from any thread.

    What is said `of` an attempt counts only while that is the one in `attempts`. The look and the gathering are one
    step for whoever sends: an attempt leaves `attempts` before its end is reported, so that nothing of it can go out
    behind its end, where it would be taken for a report of the next attempt at the same task.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_broken: Callable[[], None] = lambda: None,
        attempts: Mapping[bytes, object] = MappingProxyType({}),
    ) -> None:
        """`on_broken` is called, by whichever thread finds it, when nothing can be sent any more. `attempts` are those
        that run, by the ids of their tasks."""
        self._sock = sock
        self._on_broken = on_broken
        self._attempts = attempts
        # Guards what is gathered; held for moments.
        self._mutex = threading.Lock()
        # Held while sending, so that what was gathered first is sent first.
        self._sending = threading.Lock()
        self._some = threading.Event()
        self._done: list[Any] = []
        self._parked: dict[bytes, bool] = {}
        self._mail: dict[bytes, tuple[int, int]] = {}
        self._progress: dict[bytes, tuple[float, float | None, str]] = {}
        self._requests: list[Any] = []
        self._logs: dict[bytes, list[tuple[float, str, str]]] = {}
        self._log_size = 0
        self._log_due = 0.0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="understudy-outbox", daemon=True)
        self._thread.start()

    # --- gathering ---

    def done(self, row: tuple[Any, ...]) -> None:
        """An attempt is over."""
        self._done.append(row)
        if len(self._done) >= DONE_GATHERED:
            self.flush()
        elif not self._some.is_set():
            self._some.set()

    def parked(self, id: bytes, parked: bool, of: object = None) -> None:
        """A task waits now, or goes on. Only the last word counts."""
        with self._mutex:
            if self._counts(id, of):
                self._parked[id] = parked
        self._some.set()

    def mail(self, id: bytes, taken: int, acked: int, of: object = None) -> None:
        """How far a task has come in its mailbox."""
        with self._mutex:
            if self._counts(id, of):
                self._mail[id] = (taken, acked)
        if not self._some.is_set():
            self._some.set()

    def progress(self, id: bytes, done: float, total: float | None, note: str, of: object = None) -> None:
        """How far a task says it is."""
        with self._mutex:
            if self._counts(id, of):
                self._progress[id] = (done, total, note)
        self._some.set()

    def log(self, id: bytes, level: str, text: str, at: float | None = None) -> None:
        """A line of a task's log, `at` seconds since the epoch or now.

        A task that prints faster than the disk takes it is slowed down here.
        """
        at = time.time() if at is None else at
        with self._mutex:
            first = not self._logs
            if first:
                self._log_due = time.monotonic() + LOG_LINGER
            self._logs.setdefault(id, []).append((at, level, text))
            self._log_size += _LINE + len(text)
            much = self._log_size >= LOG_GATHERED
        if much:
            self.flush()
        elif first:
            # The thread has to know until when it may sleep.
            self._some.set()

    def request(self, frame: tuple[Any, ...], id: bytes = b"", of: object = None) -> bool:
        """A request to the supervisor: goes out at once. False if it does not count, and will not be answered."""
        with self._mutex:
            counts = self._counts(id, of)
            if counts:
                self._requests.append(frame)
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
        """Send everything now."""
        with self._sending:
            data = self._gathered(logs=True)
            if data:
                self._send(data)

    def _gathered(self, *, logs: bool) -> bytes:
        """Frames in the order that the supervisor needs: what is about a task comes before the task's end."""
        with self._mutex:
            # Never a new list: another thread may have looked the old one up and be about to append to it.
            done = self._done[:]
            del self._done[: len(done)]
            parked, self._parked = self._parked, {}
            mail, self._mail = self._mail, {}
            progress, self._progress = self._progress, {}
            requests, self._requests = self._requests, []
            ended = {row[0] for row in done} if self._logs else ()
            lines = {id: self._logs[id] for id in list(self._logs) if logs or id in ended}
            if lines:
                self._logs = {id: kept for id, kept in self._logs.items() if id not in lines}
                self._log_size -= sum(_LINE + len(text) for kept in lines.values() for _, _, text in kept)
        frames: list[Any] = [(Report.LOG, id, entries) for id, entries in lines.items()]
        if progress:
            frames.append((Report.PROGRESS, [(id, *said) for id, said in progress.items()]))
        if parked:
            waiting = [id for id, waits in parked.items() if waits]
            frames.append((Report.PARKED, waiting, [id for id, waits in parked.items() if not waits]))
        if mail:
            frames.append((Report.MAIL, [(id, *numbers) for id, numbers in mail.items()]))
        frames += requests
        frames += [(Report.DONE, part) for part in parts(done, _size)]
        return b"".join(map(encode, frames))

    def _send(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError:
            # The supervisor is gone, or a task has closed our socket: then the reading side might not notice for long.
            self._closed = True
            self._on_broken()

    def _run(self) -> None:
        while not self._closed:
            self._some.wait(max(0.0, self._log_due - time.monotonic()) if self._logs else None)
            self._some.clear()
            time.sleep(LINGER)
            with self._sending:
                data = self._gathered(logs=time.monotonic() >= self._log_due)
                if data:
                    self._send(data)

    def close(self) -> None:
        """Send what is left and end the thread."""
        self.flush()
        self._closed = True
        self._some.set()
        self._thread.join()


def _size(row: tuple[Any, ...]) -> int:
    """Bytes of a result, roughly."""
    _, _, value, error, *_ = row
    return 200 + len(value or b"") + (len(error[1]) + len(error[2]) if error else 0)

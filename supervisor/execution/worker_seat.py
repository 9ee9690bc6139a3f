"""One worker, seen from the supervisor: its connection, what it was handed, and how much of it is free."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Protocol

from ...actors.errors import UnderstudyError
from ...storage.tables.schema import Lane
from ..channel.begin_tokens import BeginTokens
from ..channel.wait_marks import WaitMarks
from ..settings import Settings
from ..tasks.live_task import LiveTask
from ..wire.codec import Decoder, encode, parts
from ..wire.error_codec import error_fields
from ..wire.messages import Order
from ..wire.socket_buffers import StreamProtocol

log = logging.getLogger("understudy")

#: The lanes in which tasks are handed to a worker; one that needs a worker of its own comes in the first.
HANDED: Final = (Lane.SYNC, Lane.ASYNC)


#: Bytes read at once of what a dead worker had sent.
LAST_WORDS: Final = 256 * 1024


class Reports(Protocol):
    """Who is told what a worker reports."""

    def report(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        """A frame has come in."""

    def hung_up(self, link: WorkerSeat) -> None:
        """The connection is gone; the worker's death is told by its own watch."""


class WorkerSeat(StreamProtocol):
    """A worker process. Made when the spawn is asked for; `pid` is known when it has come."""

    def __init__(self, number: int, settings: Settings, reports: Reports, *, alone: bool) -> None:
        self.number = number
        #: For one task that needs a worker of its own.
        self.alone = alone
        self.pid = 0
        self.spawned_at = time.time()
        #: Gets nothing new; stops when it has nothing left.
        self.retiring = False
        #: Was told to exit.
        self.stopping = False
        #: The tasks for whose sake it is being killed, with the reason; the others are interrupted.
        self.condemned: dict[bytes, str] = {}
        self.tokens: dict[Lane, BeginTokens] = {}
        try:
            for lane in HANDED:
                self.tokens[lane] = BeginTokens()
            self.marks = WaitMarks()
        except OSError:
            for tokens in self.tokens.values():
                tokens.close()
            raise
        #: Everything it has, by id, and of that what has not been seen to begin, in the order handed out.
        self.tasks: dict[bytes, LiveTask] = {}
        self.handed: dict[Lane, dict[bytes, LiveTask]] = {lane: {} for lane in HANDED}
        #: Drops that it has not confirmed, by lane.
        self.dropping = dict.fromkeys(HANDED, 0)
        #: How many of its tasks wait, by lane.
        self.waiting = dict.fromkeys(HANDED, 0)
        self.counts = dict.fromkeys(HANDED, 0)
        self.done = 0
        self._reports = reports
        self._decoder = Decoder(settings.value_limit)
        self._transport: asyncio.Transport | None = None
        self._frames: list[Any] = []
        self._letters: dict[bytes, tuple[int, list[bytes]]] = {}
        #: Tasks whose mailboxes are to be closed.
        self._closing: dict[bytes, None] = {}
        self._late_frames: list[Any] = []

    # --- what it has ---

    def working(self, lane: Lane) -> int:
        """Tasks of a lane that are not waiting."""
        return self.counts[lane] - self.waiting[lane]

    def takes(self, lane: Lane) -> bool:
        """Whether it may be handed tasks of a lane: not while a drop is unconfirmed (see tokens.py), which also keeps
        new work from one that is stuck in a C call."""
        return self.pid != 0 and not self.retiring and not self.dropping[lane]

    def hand(self, lane: Lane, entries: list[LiveTask], now: float) -> None:
        """Hand out tasks: the tokens first, so that a task without a token has been taken back."""
        for entry in entries:
            entry.link = self
            entry.handed_at = now
        by_id = {entry.id: entry for entry in entries}
        self.handed[lane].update(by_id)
        self.tasks.update(by_id)
        self.counts[lane] += len(entries)
        self.tokens[lane].add(len(entries))
        for part in parts(entries, _size):
            self._frames.append((Order.RUN, lane, [entry.assignment() for entry in part]))

    def drop(self, entry: LiveTask) -> Lane:
        """A task is not its any more."""
        id = entry.id
        del self.tasks[id]
        lane = Lane.ASYNC if entry.lane is Lane.ASYNC and not self.alone else Lane.SYNC
        self.handed[lane].pop(id, None)
        self.counts[lane] -= 1
        if entry.parked:
            self.waiting[lane] -= 1
        if self._letters:
            self._letters.pop(id, None)
        if self._closing:
            # The next attempt may begin here within this turn, and not have been given all of its messages.
            self._closing.pop(id, None)
        return lane

    def take_back(self, lane: Lane) -> list[LiveTask]:
        """Take back everything of a lane that has not begun, oldest first; what stays in `handed` has begun."""
        handed = self.handed[lane]
        if not handed:
            return []
        count = self.tokens[lane].drain()
        entries = list(handed.values())
        back = entries[max(0, len(entries) - count) :]
        if back:
            self.dropping[lane] += 1
            self._frames.append((Order.DROP, lane, len(back)))
        return back

    def not_begun(self, lane: Lane) -> tuple[list[LiveTask], list[LiveTask]]:
        """(those that have begun, as far as not known before, those that have not), both oldest first."""
        entries = list(self.handed[lane].values())
        begun = len(entries) - min(self.tokens[lane].count(), len(entries))
        return entries[:begun], entries[begun:]

    def set_parked(self, entry: LiveTask, parked: bool) -> None:
        """A task waits now, or goes on."""
        if entry.parked != parked:
            entry.parked = parked
            lane = Lane.ASYNC if entry.lane is Lane.ASYNC and not self.alone else Lane.SYNC
            self.waiting[lane] += 1 if parked else -1

    # --- what it is told ---

    def give_letters(self, id: bytes, number: int, values: list[bytes]) -> None:
        """Messages for a task, the first of which has this number; they go out with the turn."""
        first, given = self._letters.setdefault(id, (number, []))
        if number == first + len(given):
            given += values
        else:
            # A new attempt on the same worker within one turn: what was given before is given again.
            self._letters[id] = (number, list(values))

    def close_mailbox(self, id: bytes) -> None:
        """No more messages for a task, after those given."""
        self._closing[id] = None

    def signal(self, id: bytes, reason: str) -> None:
        """Ask a task to stop."""
        self._late_frames.append((Order.SIGNAL, id, reason))

    def interrupt(self, id: bytes | None = None) -> None:
        """Interrupt a task, or all."""
        self._late_frames.append((Order.INTERRUPT, id))

    def answer(self, request: int, payload: Any) -> None:
        """The answer to a request of the worker."""
        self._late_frames.append((Order.OK, request, payload))

    def refuse(self, request: int, error: UnderstudyError) -> None:
        """A request of the worker was refused."""
        self._late_frames.append((Order.ERROR, request, *error_fields(error)))

    def declare(self, modules: Iterable[str]) -> None:
        """More modules hold tasks; before any task of theirs is handed out."""
        self._frames.append((Order.DECLARE, list(modules)))

    def stop(self) -> None:
        """Let it exit; said once."""
        if self.stopping:
            return
        self.stopping = True
        self._late_frames.append((Order.STOP,))

    def flush(self) -> None:
        """Send what has gathered in this turn: tasks before their messages, messages before a close."""
        if self._transport is None or not (
            self._frames or self._letters or self._closing or self._late_frames
        ):
            return
        letters = [(Order.MAIL, id, first, values) for id, (first, values) in self._letters.items()]
        closes = [(Order.CLOSE, id) for id in self._closing]
        frames = [*self._frames, *letters, *closes, *self._late_frames]
        self._frames, self._letters, self._closing, self._late_frames = [], {}, {}, []
        self._transport.write(b"".join(map(encode, frames)))

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes | memoryview) -> None:
        try:
            for frame in self._decoder.feed(data):
                self._reports.report(self, frame)
        except (UnderstudyError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            log.exception("worker %d sent a frame that cannot be", self.pid)
            self.hang_up()

    def hear_last_words(self) -> None:
        """It is dead: take in what it had sent and nobody has read yet."""
        if self._transport is None or self._transport.is_closing():
            return
        fd = self._transport.get_extra_info("socket").fileno()
        with suppress(OSError):
            while data := os.read(fd, LAST_WORDS):
                self.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._reports.hung_up(self)

    def read(self, go_on: bool) -> None:
        """Stop or go on reading what it reports."""
        if self._transport is not None and not self._transport.is_closing():
            if go_on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def hang_up(self) -> None:
        """Close the connection at once; the worker exits when it notices."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """The worker is dead: let go of its connection and tokens."""
        self.hang_up()
        for tokens in self.tokens.values():
            tokens.close()
        self.marks.close()


def _size(entry: LiveTask) -> int:
    """Bytes of its assignment, roughly."""
    return 200 + len(entry.args or b"")

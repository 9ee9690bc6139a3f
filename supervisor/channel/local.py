"""The channel to a worker process on this machine: a Unix socket, begin tokens and wait marks.

The tokens decide, without asking the worker, whether a task has begun (see begin_tokens.py). So tasks can be handed
out ahead of free slots and taken back at once, even from a worker that is stuck in a C call.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ...actors.errors import ProtocolError, UnderstudyError
from ...storage.tables.schema import Lane
from ..settings import Settings
from ..wire.codec import Decoder, encode, parts
from ..wire.error_codec import error_fields
from ..wire.messages import Order, Report
from ..wire.socket_buffers import StreamProtocol
from .begin_tokens import BeginTokens
from .interface import HANDED, AssignmentRow, ChannelEvents
from .stack_dump import StackMemory
from .wait_marks import WaitMarks

log = logging.getLogger("understudy")

#: Tasks handed out ahead of the free slots of one worker, at most.
AHEAD: Final = 1024
#: Bytes read at once of the last reports of a dead worker.
LAST_WORDS: Final = 256 * 1024
#: Where an assignment has its arguments, its turn and its steps, and a turn the state and the letters.
_ARGS: Final = 3
_TURN: Final = 11
_STEPS: Final = 16
_STATE: Final = 2
_LETTERS: Final = 3


class LocalChannel(StreamProtocol):
    """A `WorkerChannel`. OSError if no descriptor is left for its tokens and marks."""

    place = "local"
    ahead = AHEAD

    def __init__(self, settings: Settings, events: ChannelEvents, kill: Callable[[int], None]) -> None:
        """`kill` ends the process tree of a pid."""
        self.pid = 0
        self.tokens: dict[Lane, BeginTokens] = {}
        try:
            for lane in HANDED:
                self.tokens[lane] = BeginTokens()
            self.marks = WaitMarks()
        except OSError:
            for tokens in self.tokens.values():
                tokens.close()
            raise
        self._stacks: StackMemory | None = None
        self._events = events
        self._kill = kill
        self._decoder = Decoder(settings.value_limit)
        self._transport: asyncio.Transport | None = None
        #: A copy of the socket. asyncio closes its own when a write fails, and the worker's reports are lost with it.
        self._copy: socket.socket | None = None
        self._closed = False
        #: Drops that the worker has not confirmed, by lane. Until then new tokens would stand for the dropped tasks.
        self._dropping = dict.fromkeys(HANDED, 0)
        self._frames: list[Any] = []
        self._messages: dict[bytes, tuple[int, list[bytes]]] = {}
        #: Tasks whose mailboxes are to be closed.
        self._closing: dict[bytes, None] = {}
        self._late_frames: list[Any] = []

    @property
    def shared_fds(self) -> list[int]:
        """The descriptors that the worker shares: tokens by lane, then marks and stacks. OSError if none is left."""
        if self._stacks is None:
            self._stacks = StackMemory()
        return [*(self.tokens[lane].fd for lane in HANDED), self.marks.fd, self._stacks.fd]

    # --- tasks ---

    def accepts(self, lane: Lane) -> bool:
        return self.pid != 0 and not self._dropping[lane]

    def run(self, lane: Lane, assignments: Sequence[AssignmentRow]) -> None:
        # The tokens first, so that a task without a token has been taken back.
        self.tokens[lane].add(len(assignments))
        for part in parts(assignments, _size):
            self._frames.append((Order.RUN, lane, part))

    def unbegun(self, lane: Lane) -> int:
        return self.tokens[lane].count()

    def take_back(self, lane: Lane) -> int:
        count = self.tokens[lane].drain()
        if count:
            self._dropping[lane] += 1
            self._frames.append((Order.DROP, lane, count))
        return count

    def forget(self, id: bytes) -> None:
        if self._messages:
            self._messages.pop(id, None)
        if self._closing:
            # The next attempt may begin here within this turn, before it has been given all of its messages.
            self._closing.pop(id, None)

    # --- orders ---

    def give(self, id: bytes, first: int, values: Sequence[bytes]) -> None:
        start, given = self._messages.setdefault(id, (first, []))
        if first == start + len(given):
            given += values
        else:
            # A new attempt on the same worker within one turn: the messages are given again from its first on.
            self._messages[id] = (first, list(values))

    def close_mailbox(self, id: bytes) -> None:
        self._closing[id] = None

    def signal(self, id: bytes, reason: str) -> None:
        self._late_frames.append((Order.SIGNAL, id, reason))

    def interrupt(self, id: bytes | None = None) -> None:
        self._late_frames.append((Order.INTERRUPT, id))

    def answer(self, request: int, payload: Any) -> None:
        self._late_frames.append((Order.OK, request, payload))

    def refuse(self, request: int, error: UnderstudyError) -> None:
        self._late_frames.append((Order.ERROR, request, *error_fields(error)))

    def forget_actors(self, ids: Sequence[bytes]) -> None:
        # Before the tasks of this turn: the same actor may come back.
        self._frames.append((Order.FORGET, list(ids)))

    def aside(self, id: bytes, letter: bytes) -> None:
        self._late_frames.append((Order.ASIDE, id, letter))

    def ask_stack(self, number: int, id: bytes) -> None:
        self._late_frames.append((Order.STACK, number, id))

    async def dump_stacks(self) -> tuple[str, Mapping[int, bytes]] | None:
        if self._stacks is None or self._closed or not self.pid:
            return None
        text = await self._stacks.take(self.pid)
        # It may have been closed meanwhile.
        return None if text is None or self._closed else (text, self._stacks.tasks())

    def declare(self, modules: Iterable[str]) -> None:
        self._frames.append((Order.DECLARE, list(modules)))

    def stop(self) -> None:
        self._late_frames.append((Order.STOP,))

    def flush(self) -> None:
        transport = self._transport
        if transport is None or not (self._frames or self._messages or self._closing or self._late_frames):
            return
        messages = [(Order.MESSAGES, id, first, values) for id, (first, values) in self._messages.items()]
        closes = [(Order.CLOSE, id) for id in self._closing]
        frames = [*self._frames, *messages, *closes, *self._late_frames]
        self._frames, self._messages, self._closing, self._late_frames = [], {}, {}, []
        if not transport.is_closing():
            transport.write(b"".join(map(encode, frames)))

    # --- reports ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # Without a descriptor for it, only the reports behind a failed write are lost.
            with suppress(OSError):
                self._copy = sock.dup()

    def data_received(self, data: bytes | memoryview) -> None:
        try:
            for frame in self._decoder.feed(data):
                if frame[0] == Report.DROPPED:
                    self._confirmed(Lane(frame[1]))
                else:
                    self._events.reported(frame)
        except (UnderstudyError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
            log.exception("worker %d sent an invalid frame", self.pid)
            self._hang_up()

    def _confirmed(self, lane: Lane) -> None:
        if self._dropping[lane] <= 0:
            raise ProtocolError("it confirms a drop that it was not asked for")
        self._dropping[lane] -= 1
        self._events.ready(lane)

    def read(self, go_on: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if go_on:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._closed:
            self._events.lost()

    # --- the end ---

    def kill(self) -> None:
        # Once closed, the worker has been reaped, and its pid may be another process's.
        if self.pid and not self._closed:
            self._kill(self.pid)

    def last_words(self) -> None:
        with suppress(OSError):
            # `data_received` drops the copy at a frame that cannot be.
            while self._copy is not None and (data := self._copy.recv(LAST_WORDS)):
                self.data_received(data)

    def waiting_at_death(self) -> Mapping[bytes, bool]:
        return self.marks.read()

    def building_at_death(self) -> Collection[bytes]:
        return self.marks.read_building()

    def close(self) -> None:
        self._closed = True
        self._hang_up()
        for tokens in self.tokens.values():
            tokens.close()
        self.marks.close()
        if self._stacks is not None:
            self._stacks.close()

    def _hang_up(self) -> None:
        if self._copy is not None:
            self._copy.close()
            self._copy = None
        if self._transport is not None:
            self._transport.abort()


def _size(assignment: AssignmentRow) -> int:
    """Bytes of an assignment, roughly."""
    size = 200 + len(assignment[_ARGS] or b"")
    if len(assignment) <= _TURN:
        return size
    if (turn := assignment[_TURN]) is not None:
        size += len(turn[_STATE] or b"") + sum(map(len, turn[_LETTERS]))
    if len(assignment) > _STEPS:
        size += sum(len(label) + len(value) for label, value in assignment[_STEPS][2])
    return size

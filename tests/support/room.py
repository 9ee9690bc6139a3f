"""The supervisor's state and its decisions on a real store in this process's event loop, with fake workers.

A `Room` holds the parts of a `Supervisor` except the pool. Its workers are seats with local channels. The
test is the other end of each channel: it reads orders, takes tokens and sends reports, as a worker would.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import starmap
from pathlib import Path
from typing import Any, cast

from understudy.actors.attempt.host import Assignment, Ending
from understudy.actors.errors import AppFailed, ErrorInfo
from understudy.actors.ids import new_id
from understudy.actors.state import State
from understudy.actors.task.options import Options
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table, live_key, live_lane
from understudy.supervisor.channel.local import LocalChannel
from understudy.supervisor.daemon.core import Core
from understudy.supervisor.execution.worker_seat import WorkerSeat
from understudy.supervisor.linux.processes import ExitStatus
from understudy.supervisor.rules.pace import Paces
from understudy.supervisor.settings import Settings
from understudy.supervisor.tasks.attempt import Attempt
from understudy.supervisor.tasks.commit_loop import CommitLoop
from understudy.supervisor.tasks.live_task import LiveTask
from understudy.supervisor.wire.codec import Decoder, encode
from understudy.supervisor.wire.messages import Order, Report
from understudy.supervisor.wire.socket_buffers import READ_SIZE

__all__ = [
    "ErrorInfo",
    "PaperPool",
    "Puppet",
    "Room",
    "consistent",
    "declared",
    "end_all",
    "lanes",
    "learn_pace",
    "room",
    "small_windows",
]

#: Seconds that any step in these tests may take.
PATIENCE = 20.0


def declared(*, is_async: bool = False, **options: Any) -> dict[str, Any]:
    """One task of an app, as a fork server reports it."""
    return {**Options().changed(options).pack(), "is_async": is_async}


def learn_pace(paces: Paces, name: str, seconds: float) -> None:
    """Let attempts of this task take so many seconds, until the average says so."""
    for _ in range(100):
        paces.learn(name, seconds)


class PaperTransport(asyncio.Transport):
    """Keeps the bytes that are written to a worker."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Puppet:
    """A worker of which only the channel is real."""

    def __init__(self, stage: Room, number: int, *, alone: bool = False, pool: str | None = None) -> None:
        self.seat = WorkerSeat(
            number,
            lambda seat: LocalChannel(stage.settings, seat, stage.killed.append),
            stage.attempts,
            alone=alone,
            pool=pool,
        )
        assert isinstance(self.seat.channel, LocalChannel)
        self.channel = self.seat.channel
        self.channel.pid = 100_000 + number
        self.transport = PaperTransport()
        self.channel.connection_made(self.transport)
        self._decoder = Decoder(1 << 20)
        self.orders: list[tuple[Any, ...]] = []
        #: Tasks that it was told to run and has neither begun nor dropped, by lane.
        self.queues: dict[int, list[Assignment]] = {Lane.SYNC: [], Lane.ASYNC: [], Lane.RUN: []}

    def read(self) -> list[tuple[Any, ...]]:
        """The orders since the last call. RUN and DROP are carried out, and drops confirmed."""
        new: list[tuple[Any, ...]] = []
        written, self.transport.written = self.transport.written, []
        data = b"".join(written)
        for start in range(0, len(data), READ_SIZE):
            new += self._decoder.feed(data[start : start + READ_SIZE])
        for frame in new:
            if frame[0] == Order.RUN:
                self.queues[frame[1]] += [Assignment(*row) for row in frame[2]]
            elif frame[0] == Order.DROP:
                queue = self.queues[frame[1]]
                del queue[max(0, len(queue) - frame[2]) :]
                self.report(Report.DROPPED, frame[1])
        self.orders += new
        return new

    def begin(self, count: int = 1_000_000, lane: Lane = Lane.SYNC) -> list[Assignment]:
        """Begin up to `count` tasks, if there are tokens for them."""
        self.read()
        queue, begun = self.queues[lane], []
        while queue and len(begun) < count and self.channel.tokens[lane].take():
            begun.append(queue.pop(0))
        return begun

    def report(self, op: Report, *fields: Any) -> None:
        self.channel.data_received(encode((op, *fields)))

    def done(
        self,
        id: bytes,
        ending: Ending = Ending.VALUE,
        value: bytes | None = None,
        *,
        error: Any = None,
        delay: float | None = None,
        acked: int = 0,
        seconds: float = 0.0001,
    ) -> None:
        now = time.time()
        self.report(Report.DONE, [(id, ending, value, error, delay, acked, now - seconds, now)])

    def messages(self, id: bytes) -> list[tuple[int, bytes]]:
        """Every message given to it for this task, in order."""
        self.read()
        found: list[tuple[int, bytes]] = []
        for frame in self.orders:
            if frame[0] == Order.MESSAGES and frame[1] == id:
                found += enumerate(frame[3], frame[2])
            elif frame[0] == Order.RUN:
                turns = [each.turn for each in starmap(Assignment, frame[2]) if each.id == id and each.turn]
                for _, _, _, letters, _, _, first in turns:
                    found += enumerate(letters, first)
        return found

    def told(self, op: Order) -> list[tuple[Any, ...]]:
        """All orders of this kind."""
        self.read()
        return [frame for frame in self.orders if frame[0] == op]


class PaperPool:
    """The parts of a pool that the dispatcher and the service use."""

    def __init__(self) -> None:
        self.seats: list[WorkerSeat] = []
        self.app_ready = asyncio.Event()
        self.app_ready.set()
        self.app_error: AppFailed | None = None
        self.wanted: list[int] = []
        self.wanted_in: list[str | None] = []
        self.retired: list[WorkerSeat] = []
        self.modules: list[str] = []

    def idle_isolated(self, pool: str | None = None) -> list[WorkerSeat]:
        return [
            seat
            for seat in self.seats
            if seat.alone and seat.pool == pool and seat.takes(Lane.SYNC) and not seat.tasks
        ]

    def want_isolated(self, count: int, pool: str | None = None) -> None:
        self.wanted.append(count)
        self.wanted_in.append(pool)

    def settle(self, seat: WorkerSeat) -> None:
        """Does nothing: no worker is replaced here."""

    def retire(self, seat: WorkerSeat) -> None:
        seat.retiring = True
        self.retired.append(seat)

    async def declare(self, modules: Iterable[str]) -> None:
        self.modules += modules


class Room:
    """See the module. Made by `room`."""

    def __init__(
        self, home: Path, tasks: dict[str, dict[str, Any]], settings: Settings, workers: int
    ) -> None:
        self.home, self.settings = home, settings
        self.loop = asyncio.get_running_loop()
        facts = {"pid": 1, "embedded": True, "settings": settings.pack()}
        self.pool = PaperPool()
        self.core = Core(
            CommitLoop(home, settings), settings, facts, lambda _events, _turn: cast("Any", self.pool)
        )
        self.commits, self.table, self.mailboxes = self.core.commits, self.core.table, self.core.mailboxes
        self.attempts, self.dispatcher, self.service = (
            self.core.attempts,
            self.core.dispatcher,
            self.core.service,
        )
        self.turn = self.core.turn
        self.table.declare(tasks)
        #: Pids of workers that should have been killed.
        self.killed: list[int] = []
        self.workers: list[Puppet] = []
        for _ in range(workers):
            self.hire()

    def hire(self, *, alone: bool = False, pool: str | None = None) -> Puppet:
        """Add a worker."""
        puppet = Puppet(self, len(self.workers) + 1, alone=alone, pool=pool)
        self.workers.append(puppet)
        self.pool.seats.append(puppet.seat)
        self.turn()
        return puppet

    def die(self, puppet: Puppet, status: ExitStatus | None = None) -> bool:
        """End the worker; returns whether a task is to blame."""
        self.pool.seats.remove(puppet.seat)
        explained = self.attempts.died(puppet.seat, status or ExitStatus(signal=9))
        puppet.channel.close()
        self.turn()
        return explained

    async def settle(self) -> None:
        """Wait until a turn is over and everything is on disk."""
        self.turn()
        await self.until(lambda: not self.core.turn_asked)
        await self.commits.settled()
        await self.until(
            lambda: not self.core.turn_asked and not self.commits.store.busy and not self.table.writes._dirty
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0)

    # --- tasks ---

    def add(self, name: str = "quick", args: bytes | None = None, **fields: Any) -> bytes:
        """Start a task as the service does; its id."""
        id = new_id()
        self.table.add([(Record(id, name, time.time(), id, **fields), args)])
        return id

    def record(self, id: bytes) -> Record:
        record = self.table.record(id)
        assert record is not None
        return record

    def state(self, id: bytes) -> State:
        return self.record(id).state

    def entry(self, id: bytes) -> LiveTask:
        entry = self.table.find(id)
        assert entry is not None
        return entry

    def attempt(self, id: bytes) -> Attempt:
        """The task's attempt; a blank one if the task is queued."""
        return self.entry(id).attempt or Attempt(cast("Any", None), 0.0)

    def rows(self, table: Any, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
        """Committed rows."""
        return [row for row in self.commits.scan(table) if row[0].startswith(prefix)]

    def close(self) -> None:
        self.dispatcher.stop()
        for puppet in self.workers:
            puppet.channel.close()
        self.commits.close()


TASKS = {
    "quick": declared(),
    "retried": declared(retry=2, timeout=60),
    "async": declared(is_async=True),
    "alone": declared(isolate=True),
    "short": declared(timeout=0.01, grace=0.02),
}


@asynccontextmanager
async def room(
    home: Path, *, tasks: dict[str, dict[str, Any]] | None = None, workers: int = 1, **settings: Any
) -> AsyncIterator[Room]:
    """A room on this home. It is closed at the end, with everything on disk."""
    os.makedirs(home, mode=0o700, exist_ok=True)
    given = {"durability": "os", "slots": 2, **settings}
    it = Room(home, TASKS if tasks is None else tasks, Settings.of(given), workers)
    try:
        yield it
    finally:
        it.close()


def small_windows(it: Room, window: int) -> None:
    for line in it.table.queues.lanes.values():
        line._window = window


def lanes(it: Room) -> Counter[Lane]:
    return Counter(live_lane(key) for key, _ in it.rows(Table.LIVE))


def consistent(it: Room) -> None:
    """Each live task has one live row, where its record says, and no other row is there."""
    rows = [key for key, _ in it.rows(Table.LIVE)]
    records = [Record.unpack(id, row) for id, row in it.rows(Table.TASKS)]
    assert sorted(rows) == sorted(live_key(*r.place, r.id) for r in records if r.place is not None)
    assert all((r.place is None) == r.terminal for r in records)


def end_all(it: Room) -> None:
    for puppet in it.workers:
        for assignment in puppet.begin():
            puppet.done(assignment.id)

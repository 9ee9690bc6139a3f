"""Execution against a second channel: a worker that is a list in this process, which takes nothing ahead of its slots
and answers a take-back later. A worker on another machine needs no more than such a channel.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from room import Room, declared, learn_pace, room
from understudy.actors.attempt.host import Assignment, Ending
from understudy.actors.errors import UnderstudyError
from understudy.actors.state import State
from understudy.storage.tables.schema import Lane
from understudy.supervisor.channel.interface import HANDED, AssignmentRow, ChannelEvents, WorkerChannel
from understudy.supervisor.execution.worker_seat import WorkerSeat
from understudy.supervisor.linux.processes import ExitStatus
from understudy.supervisor.wire.messages import Report


class MemoryChannel:
    """A `WorkerChannel` whose worker is the test."""

    place = "elsewhere"
    ahead = 0

    def __init__(self, events: ChannelEvents, number: int) -> None:
        self.pid = 200_000 + number
        self.events = events
        #: Handed out and not begun, in order; then what has begun.
        self.on_the_way: dict[Lane, list[Assignment]] = {lane: [] for lane in HANDED}
        self.begun: list[Assignment] = []
        self.asked_back: set[Lane] = set()
        self.messages: list[tuple[bytes, int, tuple[bytes, ...]]] = []
        self.told: list[tuple[Any, ...]] = []
        self.flushed = 0
        self.dead = False

    def accepts(self, lane: Lane) -> bool:
        return not self.dead and lane not in self.asked_back

    def run(self, lane: Lane, assignments: Sequence[AssignmentRow]) -> None:
        assert self.accepts(lane)
        self.on_the_way[lane] += [Assignment(*row) for row in assignments]

    def unbegun(self, lane: Lane) -> int:
        return len(self.on_the_way[lane])

    def take_back(self, lane: Lane) -> int | None:
        if self.dead:
            return len(self.on_the_way[lane])
        self.asked_back.add(lane)
        return None

    def forget(self, id: bytes) -> None:
        self.told.append(("forget", id))

    def give(self, id: bytes, first: int, values: Sequence[bytes]) -> None:
        self.messages.append((id, first, tuple(values)))

    def close_mailbox(self, id: bytes) -> None:
        self.told.append(("close", id))

    def signal(self, id: bytes, reason: str) -> None:
        self.told.append(("signal", id, reason))

    def interrupt(self, id: bytes | None = None) -> None:
        self.told.append(("interrupt", id))

    def ask_stack(self, number: int, id: bytes) -> None:
        self.told.append(("stack", number, id))

    async def dump_stacks(self) -> None:
        return None

    def declare(self, modules: Iterable[str]) -> None:
        self.told.append(("declare", *modules))

    def answer(self, request: int, payload: Any) -> None:
        self.told.append(("answer", request, payload))

    def refuse(self, request: int, error: UnderstudyError) -> None:
        self.told.append(("refuse", request, type(error)))

    def stop(self) -> None:
        self.told.append(("stop",))

    def flush(self) -> None:
        self.flushed += 1

    def read(self, go_on: bool) -> None:
        self.told.append(("read", go_on))

    def kill(self) -> None:
        self.told.append(("kill",))

    def last_words(self) -> None:
        """A test says them itself."""

    def waiting_at_death(self) -> Mapping[bytes, bool]:
        return {}

    def building_at_death(self) -> Collection[bytes]:
        return ()

    def close(self) -> None:
        self.dead = True

    # --- the worker ---

    def begin(self, lane: Lane = Lane.SYNC, count: int = 1) -> list[bytes]:
        now, self.on_the_way[lane] = self.on_the_way[lane][:count], self.on_the_way[lane][count:]
        self.begun += now
        return [assignment.id for assignment in now]

    def give_back(self, lane: Lane = Lane.SYNC) -> None:
        """Answer a take-back."""
        self.asked_back.remove(lane)
        count, self.on_the_way[lane] = len(self.on_the_way[lane]), []
        self.events.took_back(lane, count)

    def done(self, id: bytes, value: bytes = b"\x01", ending: Ending = Ending.VALUE) -> None:
        now = time.time()
        self.events.reported((int(Report.DONE), [(id, int(ending), value, None, None, 0, now - 0.0001, now)]))


class Elsewhere:
    """A room whose workers are reached through memory channels."""

    def __init__(self, it: Room) -> None:
        self.it = it
        self.channels: list[MemoryChannel] = []
        self.seats: list[WorkerSeat] = []

    def hire(self) -> tuple[WorkerSeat, MemoryChannel]:
        number = len(self.seats) + 1

        def open_channel(events: ChannelEvents) -> WorkerChannel:
            channel = MemoryChannel(events, number)
            self.channels.append(channel)
            return channel

        seat = WorkerSeat(number, open_channel, self.it.attempts, alone=False)
        self.seats.append(seat)
        self.it.pool.seats.append(seat)
        self.it.turn()
        return seat, self.channels[-1]

    def die(self, seat: WorkerSeat) -> bool:
        seat.channel.close()
        self.it.pool.seats.remove(seat)
        explained = self.it.attempts.died(seat, ExitStatus(signal=9))
        self.it.turn()
        return explained


TASKS = {
    "quick": declared(),
    "retried": declared(retry=2),
    "short": declared(timeout=0.01, grace=0.02),
}


@asynccontextmanager
async def elsewhere(home: Path, **settings: Any) -> AsyncIterator[Elsewhere]:
    async with room(home, tasks=TASKS, workers=0, **settings) as it:
        yield Elsewhere(it)


def story(body: Callable[[Elsewhere], Any], home: Path, **settings: Any) -> None:
    async def play() -> None:
        async with elsewhere(home, **settings) as stage:
            await body(stage)

    asyncio.run(play())


def test_only_free_slots_are_filled(home: Path):
    async def body(stage: Elsewhere) -> None:
        it = stage.it
        _, channel = stage.hire()
        learn_pace(
            it.attempts.paces, "quick", 0.00001
        )  # quick enough to be handed out ahead, were that allowed
        ids = [it.add() for _ in range(5)]
        await it.settle()
        assert [assignment.id for assignment in channel.on_the_way[Lane.SYNC]] == ids[:2]
        for id in ids:
            assert channel.begin() == [id]
            channel.done(id)
            await it.settle()
        assert [it.state(id) for id in ids] == [State.COMPLETED] * 5

    story(body, home, slots=2)


def test_messages_go_through_it(home: Path):
    async def body(stage: Elsewhere) -> None:
        it = stage.it
        _, channel = stage.hire()
        id = it.add()
        await it.settle()
        it.mailboxes.send([(id, b"one"), (id, b"two")])
        await it.settle()
        assert [value for _, _, values in channel.messages for value in values] == [b"one", b"two"]

    story(body, home)


def test_a_take_back_that_is_answered_later(home: Path):
    """What had begun meanwhile goes on there; what had not goes to another worker, and costs no attempt."""

    async def body(stage: Elsewhere) -> None:
        it = stage.it
        first, channel = stage.hire()
        ids = [it.add() for _ in range(2)]
        await it.settle()
        assert it.attempts.take_back(first, Lane.SYNC) == []
        assert not first.takes(Lane.SYNC)
        second, other = stage.hire()
        assert channel.begin() == [ids[0]]
        channel.give_back()
        await it.settle()
        await it.until(lambda: other.on_the_way[Lane.SYNC])
        assert set(first.tasks) == {ids[0]}
        assert set(second.tasks) == {ids[1]}
        assert (it.record(ids[1]).attempt, it.record(ids[1]).interruptions) == (1, 0)

    story(body, home, slots=2)


@pytest.mark.parametrize("begins", [False, True])
def test_a_cancel_while_a_task_is_on_its_way(home: Path, begins: bool):
    async def body(stage: Elsewhere) -> None:
        it = stage.it
        _, channel = stage.hire()
        id = it.add()
        await it.settle()
        assert it.attempts.cancel(id)
        assert ("signal", id, "cancel") in channel.told
        if begins:
            channel.begin()
        channel.give_back()
        if begins:
            assert it.state(id) is State.RUNNING
            channel.done(id)
        await it.settle()
        assert it.state(id) is State.CANCELLED

    story(body, home)


def test_code_that_does_not_stop_is_killed(home: Path):
    async def body(stage: Elsewhere) -> None:
        it = stage.it
        seat, channel = stage.hire()
        late, other = it.add("short"), it.add()
        await it.settle()
        channel.begin(count=2)
        await it.until(lambda: ("kill",) in channel.told)
        assert ("signal", late, "timeout") in channel.told
        assert stage.die(seat)
        stage.hire()
        await it.settle()
        assert it.state(late) is State.TIMED_OUT
        assert it.record(other).interruptions == 1

    story(body, home, slots=2)


def test_a_death_is_the_fault_of_the_only_task_that_had_begun(home: Path):
    async def body(stage: Elsewhere) -> None:
        it = stage.it
        seat, channel = stage.hire()
        culprit, waiting = it.add("retried"), it.add()
        await it.settle()
        assert channel.begin() == [culprit]
        assert stage.die(seat)
        assert it.record(culprit).attempt == 2
        assert (it.record(waiting).attempt, it.record(waiting).interruptions) == (1, 0)

    story(body, home, slots=2)


def test_a_lost_connection_ends_the_worker(home: Path):
    async def body(stage: Elsewhere) -> None:
        _, channel = stage.hire()
        channel.events.lost()
        assert channel.told == [("kill",)]

    story(body, home)


def test_a_drain_interrupts_and_loses_nothing(home: Path):
    async def body(stage: Elsewhere) -> None:
        it = stage.it
        seat, channel = stage.hire()
        ids = [it.add() for _ in range(2)]
        await it.settle()
        channel.begin()
        it.dispatcher.stop()
        seat.retiring = True
        it.attempts.retiring(seat)
        channel.give_back()
        channel.done(ids[0], ending=Ending.INTERRUPTED)
        await it.settle()
        assert not seat.tasks
        assert [it.state(id) for id in ids] == [State.QUEUED] * 2
        assert [it.record(id).interruptions for id in ids] == [1, 0]

    story(body, home, slots=2)


def test_a_death_while_a_take_back_is_under_way(home: Path):
    """What had not begun is queued again, blamed for nothing; asking twice before the answer asks once."""

    async def body(stage: Elsewhere) -> None:
        it = stage.it
        seat, channel = stage.hire()
        culprit, waiting = it.add("retried"), it.add()
        await it.settle()
        assert channel.begin() == [culprit]
        assert it.attempts.cancel(waiting)
        assert it.attempts.cancel(waiting)
        assert channel.asked_back == {Lane.SYNC}
        assert stage.die(seat)
        await it.settle()
        assert it.state(waiting) is State.CANCELLED
        assert (it.record(culprit).attempt, it.record(culprit).crashes) == (2, 1)

    story(body, home, slots=2)

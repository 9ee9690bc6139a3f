"""The channel to a worker process: the order of what the worker is told, and what it may send."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from room import Puppet, Room, room
from understudy.actors.errors import TaskNotFound
from understudy.storage.tables.schema import Lane
from understudy.supervisor.channel.interface import Frame
from understudy.supervisor.channel.local import LocalChannel
from understudy.supervisor.settings import BATCH_BYTES
from understudy.supervisor.wire.codec import encode
from understudy.supervisor.wire.messages import Order, Report


class Heard(list[Any]):
    """What a channel tells its seat."""

    def reported(self, frame: Frame) -> None:
        self.append(frame)

    def lost(self) -> None:
        self.append("lost")


async def with_tasks(it: Room, count: int) -> tuple[Puppet, list[bytes]]:
    ids = [it.add() for _ in range(count)]
    await it.settle()
    return it.workers[0], ids


def test_order_within_a_turn(home: Path):
    """Tasks before their messages, messages before a close, a signal or an answer; what was dropped gets none."""

    async def story() -> None:
        async with room(home) as it:
            worker, ids = await with_tasks(it, 2)
            worker.begin()
            channel = worker.channel
            channel.answer(1, "late")
            channel.close_mailbox(ids[0])
            channel.signal(ids[0], "cancel")
            channel.interrupt(ids[1])
            channel.interrupt()
            channel.refuse(2, TaskNotFound("no", "id"))
            channel.give(ids[0], 1, [b"one"])
            channel.give(ids[0], 2, [b"two"])
            channel.give(ids[1], 1, [b"x"])
            worker.seat.drop(it.entry(ids[1]))
            channel.declare(["module"])
            worker.seat.stop()
            worker.seat.stop()
            channel.flush()
            channel.flush()
            assert worker.read() == [
                (Order.DECLARE, ("module",)),
                (Order.MESSAGES, ids[0], 1, (b"one", b"two")),
                (Order.CLOSE, ids[0]),
                (Order.OK, 1, "late"),
                (Order.SIGNAL, ids[0], "cancel"),
                (Order.INTERRUPT, ids[1]),
                (Order.INTERRUPT, None),
                (Order.ERROR, 2, "TaskNotFound", "no", {"id": "id"}),
                (Order.STOP,),
            ]

    asyncio.run(story())


def test_a_new_attempt_within_one_turn_gets_its_messages_again(home: Path):
    async def story() -> None:
        async with room(home) as it:
            worker, (id,) = await with_tasks(it, 1)
            worker.channel.give(id, 4, [b"four"])
            worker.channel.give(id, 3, [b"three"])
            worker.channel.give(id, 4, [b"four"])
            worker.channel.flush()
            assert worker.messages(id) == [(3, b"three"), (4, b"four")]

    asyncio.run(story())


def test_arguments_that_are_large_together_go_in_frames_that_fit(home: Path):
    async def story() -> None:
        async with room(home, slots=8) as it:
            ids = [it.add(args=bytes(BATCH_BYTES // 3)) for _ in range(8)]
            await it.settle()
            worker = it.workers[0]
            assert sum(map(len, worker.transport.written)) > 2 * BATCH_BYTES
            assert len(worker.told(Order.RUN)) == 4
            assert [a.id for a in worker.queues[Lane.SYNC]] == ids

    asyncio.run(story())


@pytest.mark.parametrize(
    "data",
    [b"\xc1", b"\x01", encode((99,)), encode((Report.DONE,)), encode((Report.DONE, 5)), encode((Report.DONE, [(1, 2)])),
     encode((Report.TAKEN, [(b"x",)])),
     encode((Report.PARKED, None, None)), encode((Report.CHECKPOINT, 1)), encode((Report.RESTORE, 1)),
     encode((Report.LOG, b"x")), encode((Report.DROPPED, 77)), encode((Report.PROGRESS, [[]]))],
    ids=lambda data: data.hex(),
)  # fmt: skip
def test_nonsense_costs_the_connection_and_nothing_else(home: Path, data: bytes):
    async def story() -> None:
        async with room(home) as it:
            worker, (id,) = await with_tasks(it, 1)
            worker.begin()
            worker.channel.data_received(data)
            assert worker.transport.closed
            assert it.record(id).ended is None
            assert id in worker.seat.tasks

    asyncio.run(story())


def test_reading_pauses_and_goes_on(home: Path):
    async def story() -> None:
        async with room(home) as it:
            worker = it.workers[0]
            worker.channel.read(False)
            assert not worker.transport.reading
            worker.channel.read(True)
            assert worker.transport.reading
            worker.channel.connection_lost(None)
            worker.channel.read(False)
            worker.channel.flush()
            assert it.killed == [worker.seat.pid], "a worker without a connection is of no use"

    asyncio.run(story())


def test_the_last_reports_of_a_dead_worker_are_read(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            heard = Heard()
            channel = LocalChannel(it.settings, cast("Any", heard), it.killed.append)
            channel.last_words()  # no connection yet
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            await it.loop.connect_accepted_socket(lambda: channel, ours)
            channel.read(False)
            with theirs:
                theirs.sendall(encode((Report.DONE, [])))
            channel.last_words()
            assert heard == [(Report.DONE, ())]
            channel.close()
            await it.until(lambda: channel._transport is None)
            assert heard == [(Report.DONE, ())], "a channel that was closed reports nothing"

    asyncio.run(story())


def test_a_failed_write_loses_none_of_the_last_reports(home: Path):
    """A worker reports and dies; the supervisor writes to it before it has read."""

    async def story() -> None:
        async with room(home, workers=0) as it:
            heard = Heard()
            channel = LocalChannel(it.settings, cast("Any", heard), it.killed.append)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            await it.loop.connect_accepted_socket(lambda: channel, ours)
            with theirs:
                theirs.sendall(encode((Report.DONE, [])) + encode((Report.PARKED, [], []))[:-1])
                theirs.sendall(encode((Report.PARKED, [], []))[-1:])
            channel.stop()
            channel.flush()
            channel.stop()
            channel.flush()
            await it.until(lambda: heard != [])
            channel.last_words()
            assert heard == ["lost", (Report.DONE, ()), (Report.PARKED, (), ())]
            channel.last_words()
            channel.close()
            channel.last_words()
            assert len(heard) == 3

    asyncio.run(story())


def test_nothing_is_read_behind_a_frame_that_cannot_be(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            heard = Heard()
            channel = LocalChannel(it.settings, cast("Any", heard), it.killed.append)
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            await it.loop.connect_accepted_socket(lambda: channel, ours)
            channel.data_received(b"\xc1")
            with theirs:
                theirs.sendall(encode((Report.DONE, [])))
                channel.last_words()
            channel.close()
            assert heard == []

    asyncio.run(story())


def test_a_closed_channel_kills_nothing(home: Path):
    """Its worker has been reaped, and the pid may be another process's."""

    async def story() -> None:
        async with room(home) as it:
            worker = it.workers[0]
            worker.channel.kill()
            it.die(worker)
            worker.channel.kill()
            assert it.killed == [worker.channel.pid]

    asyncio.run(story())

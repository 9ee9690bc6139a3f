"""A worker seen from the supervisor: tokens, order of what it is told, what it may send."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from room import Puppet, Room, room
from understudy.actors.errors import TaskNotFound
from understudy.storage.tables.schema import Lane
from understudy.supervisor.execution.worker_seat import HANDED, WorkerSeat
from understudy.supervisor.settings import BATCH_BYTES
from understudy.supervisor.wire.codec import encode
from understudy.supervisor.wire.messages import Order, Report


async def with_tasks(it: Room, count: int) -> tuple[Puppet, list[bytes]]:
    ids = [it.add() for _ in range(count)]
    await it.settle()
    return it.workers[0], ids


def test_each_task_comes_with_a_token(home: Path):
    async def story() -> None:
        async with room(home, slots=3) as it:
            worker, ids = await with_tasks(it, 3)
            link = worker.link
            assert link.tokens[Lane.SYNC].count() == 3
            assert [a.id for a in worker.begin(1)] == ids[:1]
            begun, not_begun = link.not_begun(Lane.SYNC)
            assert [entry.id for entry in begun] == ids[:1]
            assert [entry.id for entry in not_begun] == ids[1:]
            assert link.working(Lane.SYNC) == 3

    asyncio.run(story())


def test_what_is_taken_back_is_what_has_no_token_any_more(home: Path):
    async def story() -> None:
        async with room(home, slots=5) as it:
            worker, ids = await with_tasks(it, 5)
            worker.begin(2)
            link = worker.link
            it.dispatcher.stop()
            back = it.attempts.take_back(link, Lane.SYNC)
            assert [entry.id for entry in back] == ids[2:]
            assert set(link.tasks) == set(ids[:2])
            assert not link.takes(Lane.SYNC), (
                "until the drop is confirmed its tokens would stand for other tasks"
            )
            assert link.takes(Lane.ASYNC)
            assert it.attempts.take_back(link, Lane.SYNC) == []
            link.flush()
            worker.read()
            assert worker.queues[Lane.SYNC] == []
            assert link.takes(Lane.SYNC)

    asyncio.run(story())


def test_order_within_a_turn(home: Path):
    """Tasks before their messages, messages before a close, a signal or an answer; what was dropped gets none."""

    async def story() -> None:
        async with room(home) as it:
            worker, ids = await with_tasks(it, 2)
            worker.begin()
            link = worker.link
            link.answer(1, "late")
            link.close_mailbox(ids[0])
            link.signal(ids[0], "cancel")
            link.interrupt(ids[1])
            link.interrupt()
            link.refuse(2, TaskNotFound("no", "id"))
            link.give_letters(ids[0], 1, [b"one"])
            link.give_letters(ids[0], 2, [b"two"])
            link.give_letters(ids[1], 1, [b"x"])
            link.drop(it.entry(ids[1]))
            link.declare(["module"])
            link.stop()
            link.stop()
            link.flush()
            link.flush()
            assert worker.read() == [
                (Order.DECLARE, ("module",)),
                (Order.MAIL, ids[0], 1, (b"one", b"two")),
                (Order.CLOSE, ids[0]),
                (Order.OK, 1, "late"),
                (Order.SIGNAL, ids[0], "cancel"),
                (Order.INTERRUPT, ids[1]),
                (Order.INTERRUPT, None),
                (Order.ERROR, 2, "TaskNotFound", "no", {"id": "id"}),
                (Order.STOP,),
            ]

    asyncio.run(story())


def test_a_new_attempt_within_one_turn_gets_its_letters_again(home: Path):
    async def story() -> None:
        async with room(home) as it:
            worker, (id,) = await with_tasks(it, 1)
            worker.link.give_letters(id, 4, [b"four"])
            worker.link.give_letters(id, 3, [b"three"])
            worker.link.give_letters(id, 4, [b"four"])
            worker.link.flush()
            assert worker.letters(id) == [(3, b"three"), (4, b"four")]

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


def test_waiting_tasks_are_counted_by_lane(home: Path):
    async def story() -> None:
        async with room(home, slots=4) as it:
            ids = [it.add(), it.add(), it.add("async")]
            await it.settle()
            worker = it.workers[0]
            link = worker.link
            assert [link.working(lane) for lane in HANDED] == [2, 1]
            worker.report(Report.PARKED, [ids[0], ids[2], os.urandom(16)], [])
            worker.report(Report.PARKED, [ids[0]], [])
            assert [link.working(lane) for lane in HANDED] == [1, 0]
            worker.report(Report.PARKED, [], [ids[0]])
            assert [link.working(lane) for lane in HANDED] == [2, 0]
            worker.begin()
            worker.done(ids[0])
            worker.begin(lane=Lane.ASYNC)
            worker.done(ids[2])
            assert [link.working(lane) for lane in HANDED] == [1, 0]
            assert [link.waiting[lane] for lane in HANDED] == [0, 0]

    asyncio.run(story())


@pytest.mark.parametrize(
    "data",
    [b"\xc1", b"\x01", encode((99,)), encode((Report.DONE,)), encode((Report.DONE, 5)), encode((Report.DONE, [(1, 2)])),
     encode((Report.MAIL, [(b"x",)])),
     encode((Report.PARKED, None, None)), encode((Report.CHECKPOINT, 1)), encode((Report.RESTORE, 1)),
     encode((Report.LOG, b"x")), encode((Report.DROPPED, 77)), encode((Report.PROGRESS, [[]]))],
    ids=lambda data: data.hex(),
)  # fmt: skip
def test_nonsense_costs_the_connection_and_nothing_else(home: Path, data: bytes):
    async def story() -> None:
        async with room(home) as it:
            worker, (id,) = await with_tasks(it, 1)
            worker.begin()
            worker.link.data_received(data)
            assert worker.transport.closed
            assert it.record(id).ended is None
            assert id in worker.link.tasks

    asyncio.run(story())


@pytest.mark.parametrize(
    "row", [(99, None, None, 0.0, 1.0), (0, None, None, "then", "now")], ids=["ending", "times"]
)
def test_a_result_that_cannot_be_does_not_lose_its_task(home: Path, row: Any):
    async def story() -> None:
        async with room(home) as it:
            worker, (id,) = await with_tasks(it, 1)
            worker.begin()
            ending, value, error, started, ended = row
            worker.report(Report.DONE, [(id, ending, value, error, None, 0, started, ended)])
            assert worker.transport.closed
            it.die(worker)
            await it.settle()
            assert it.record(id).error is not None, "its worker died, and that is known of it"

    asyncio.run(story())


def test_reading_pauses_and_goes_on(home: Path):
    async def story() -> None:
        async with room(home) as it:
            worker = it.workers[0]
            worker.link.read(False)
            assert not worker.transport.reading
            worker.link.read(True)
            assert worker.transport.reading
            worker.link.connection_lost(None)
            worker.link.read(False)
            worker.link.flush()
            worker.link.hang_up()
            assert it.hung_up_links == [worker.link]

    asyncio.run(story())


def test_what_a_dead_worker_had_sent_is_heard(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            heard: list[Any] = []

            class Ears:
                def report(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
                    heard.append(frame)

                def hung_up(self, link: WorkerSeat) -> None:
                    heard.append("gone")

            link = WorkerSeat(1, it.settings, Ears(), alone=False)
            link.hear_last_words()  # no connection yet
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            await it.loop.connect_accepted_socket(lambda: link, ours)
            link.read(False)
            with theirs:
                theirs.sendall(encode((Report.DONE, [])))
            link.hear_last_words()
            assert heard == [(Report.DONE, ())]
            link.close()
            await it.until(lambda: heard[-1] == "gone")

    asyncio.run(story())

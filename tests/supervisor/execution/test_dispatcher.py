"""Who runs what, where: loads, what is handed out ahead, and what is taken back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from room import Puppet, Room, declared, learn_pace, room
from understudy.actors.box.conf import BOX
from understudy.actors.state import State
from understudy.storage.tables.schema import Lane, Table
from understudy.supervisor.channel.local import AHEAD
from understudy.supervisor.execution import dispatcher as dispatcher_module
from understudy.supervisor.execution.dispatcher import STRIDE
from understudy.supervisor.rules.pace import AHEAD_SECONDS, QUICK
from understudy.supervisor.tasks import alarm
from understudy.supervisor.wire.messages import Order, Report


def quick_by_now(it: Room, name: str = "quick") -> None:
    learn_pace(it.attempts.paces, name, 0.00001)


def queued(worker: Puppet, lane: Lane = Lane.SYNC) -> int:
    worker.read()
    return len(worker.queues[lane])


def test_loads_are_evened_out(home: Path):
    async def story() -> None:
        async with room(home, workers=3, slots=4) as it:
            for _ in range(7):
                it.add()
            await it.settle()
            assert sorted(map(queued, it.workers)) == [2, 2, 3]

    asyncio.run(story())


def test_a_task_of_unknown_pace_is_not_handed_out_ahead(home: Path):
    async def story() -> None:
        async with room(home, slots=2) as it:
            ids = [it.add() for _ in range(5)]
            await it.settle()
            worker = it.workers[0]
            assert [a.id for a in worker.begin()] == ids[:2]
            worker.done(ids[0])
            await it.settle()
            assert [a.id for a in worker.begin()] == [ids[2]], "a free slot, one more"

    asyncio.run(story())


def test_quick_tasks_are_handed_out_ahead_within_bounds(home: Path):
    async def story() -> None:
        async with room(home, workers=2, slots=2) as it:
            quick_by_now(it)
            for _ in range(3 * AHEAD):
                it.add()
            await it.settle()
            assert all(AHEAD - STRIDE <= queued(worker) <= AHEAD + 2 for worker in it.workers)

    asyncio.run(story())


def test_how_much_is_handed_out_ahead_is_bounded_in_seconds_too(home: Path):
    async def story() -> None:
        async with room(home, slots=2) as it:
            learn_pace(it.attempts.paces, "quick", 0.9 * QUICK)
            for _ in range(200):
                it.add()
            await it.settle()
            most = AHEAD_SECONDS / (0.9 * QUICK)
            assert most / 2 <= queued(it.workers[0]) - 2 <= most + 1

    asyncio.run(story())


def test_waiting_tasks_hold_no_slot(home: Path):
    async def story() -> None:
        async with room(home, slots=2) as it:
            ids = [it.add() for _ in range(4)]
            await it.settle()
            worker = it.workers[0]
            worker.begin()
            worker.report(Report.PARKED, ids[:2], [])
            await it.settle()
            assert [a.id for a in worker.begin()] == ids[2:]
            worker.report(Report.PARKED, [], ids[:2])
            it.add()
            await it.settle()
            assert worker.begin() == [], "four work now, on two slots: nothing new"

    asyncio.run(story())


def test_what_has_not_begun_goes_where_a_slot_is_free(home: Path):
    """One worker is stuck with many quick tasks behind it; another comes: within 100 ms they run there."""

    async def story() -> None:
        async with room(home, slots=1) as it:
            quick_by_now(it)
            ids = [it.add() for _ in range(20)]
            await it.settle()
            stuck = it.workers[0]
            assert [a.id for a in stuck.begin(1)] == ids[:1]
            assert queued(stuck) == 19
            other = it.hire()
            asked = time.monotonic()
            begun: list[bytes] = []
            while len(begun) < 19:
                await it.until(lambda: queued(other))
                for assignment in other.begin():
                    begun.append(assignment.id)
                    other.done(assignment.id)
            assert time.monotonic() - asked < 1, "a loaded machine may take longer than the promised 0.1 s"
            assert begun == ids[1:]
            # A worker that does not confirm the drop gets nothing new, however much is queued.
            assert [frame[2] for frame in stuck.orders if frame[0] == Order.DROP] in ([], [19])
            await it.settle()
            assert stuck.begin() == []

    asyncio.run(story())


def test_a_worker_that_has_not_confirmed_a_drop_gets_nothing(home: Path):
    async def story() -> None:
        async with room(home, slots=2) as it:
            ids = [it.add() for _ in range(2)]
            await it.settle()
            worker = it.workers[0]
            it.attempts.cancel(ids[0])
            await it.settle()
            tokens = worker.channel.tokens[Lane.SYNC].count()
            assert tokens == 0, "a token would let it begin the cancelled task, whose DROP it has not read"
            worker.read()
            await it.settle()
            assert [a.id for a in worker.begin()] == [ids[1]]

    asyncio.run(story())


def test_without_room_elsewhere_nothing_is_taken_back(home: Path):
    async def story() -> None:
        async with room(home, slots=1) as it:
            quick_by_now(it)
            for _ in range(5):
                it.add()
            await it.settle()
            worker = it.workers[0]
            worker.begin(1)
            await it.until(
                lambda: len(worker.seat.handed[Lane.SYNC]) == 4
            )  # the one that has begun is known to have
            assert worker.told(Order.DROP) == []

    asyncio.run(story())


def test_async_tasks_go_to_the_loop_with_the_fewest(home: Path):
    async def story() -> None:
        async with room(home, workers=2, async_slots=3) as it:
            ids = [it.add("async") for _ in range(8)]
            await it.settle()
            assert [queued(worker, Lane.ASYNC) for worker in it.workers] == [3, 3]
            for worker in it.workers:
                begun = [a.id for a in worker.begin(lane=Lane.ASYNC)]
                worker.report(Report.PARKED, begun[:1], [])
            await it.settle()
            assert [queued(worker, Lane.ASYNC) for worker in it.workers] == [1, 1]
            assert all(it.record(id).state is State.RUNNING for id in ids)

    asyncio.run(story())


def test_a_task_that_needs_a_worker_of_its_own_asks_for_one(home: Path):
    async def story() -> None:
        async with room(home) as it:
            ids = [it.add("alone") for _ in range(3)]
            await it.settle()
            assert it.pool.wanted[-1] == 3
            assert queued(it.workers[0]) == 0
            own = it.hire(alone=True)
            await it.settle()
            assert [a.id for a in own.begin()] == ids[:1]
            assert it.pool.wanted[-1] == 2
            quick = it.add()
            await it.settle()
            assert [a.id for a in it.workers[0].begin()] == [quick]

    asyncio.run(story())


def test_a_worker_whose_task_was_cancelled_meanwhile_is_retired(home: Path):
    async def story() -> None:
        async with room(home) as it:
            id = it.add("alone")
            await it.settle()
            it.attempts.cancel(id)
            own = it.hire(alone=True)
            await it.settle()
            assert it.pool.retired == [own.seat]

    asyncio.run(story())


def test_nothing_is_handed_out_before_the_app_has_loaded_or_when_stopped(home: Path):
    async def story() -> None:
        async with room(home) as it:
            it.pool.app_ready.clear()
            ids = [it.add(), it.add("alone")]
            await it.settle()
            assert it.pool.wanted == []
            assert queued(it.workers[0]) == 0
            it.pool.app_ready.set()
            await it.settle()
            assert [a.id for a in it.workers[0].begin()] == ids[:1]
            it.dispatcher.stop()
            it.workers[0].done(ids[0])
            it.add()
            await it.settle()
            assert it.workers[0].begin() == []

    asyncio.run(story())


def test_priority_and_then_age(home: Path):
    async def story() -> None:
        async with room(home, workers=0, tasks={"t": declared()}) as it:
            low, first, second, high = (
                it.add("t", options={"priority": priority}) for priority in (-5, 0, 0, 100)
            )
            it.hire()
            order: list[bytes] = []
            while len(order) < 4:
                await it.settle()
                for assignment in it.workers[0].begin():
                    order.append(assignment.id)
                    it.workers[0].done(assignment.id)
            assert order == [high, first, second, low]
            await it.settle()
            assert it.rows(Table.LIVE) == []

    asyncio.run(story())


def test_the_clock_is_looked_at_again_after_a_while(home: Path, monkeypatch: Any):
    """A clock that is set, or a machine that slept: the timer alone would come too late."""
    monkeypatch.setattr(alarm, "CLOCK_LOOK", 0.02)

    async def story() -> None:
        async with room(home) as it:
            id = it.add(due=time.time() + 3600)
            await it.settle()
            real = time.time
            it.dispatcher._clock = cast("Any", SimpleNamespace(time=lambda: real() + 7200, can_be_set=True))
            await it.until(it.workers[0].begin)
            assert it.record(id).due is None

    asyncio.run(story())


def test_a_clock_that_is_set_is_noticed_at_once(home: Path, monkeypatch: Any):
    monkeypatch.setattr(alarm, "CLOCK_LOOK", 3600.0)

    async def story() -> None:
        async with room(home) as it:
            it.add(due=time.time() + 3600)
            await it.settle()
            real = time.time
            later = cast("Any", SimpleNamespace(time=lambda: real() + 7200, can_be_set=True))
            it.dispatcher._clock = it.dispatcher._alarm._clock = later
            it.core.clock_was_set()
            await it.until(it.workers[0].begin)

    asyncio.run(story())


def test_containers_have_places_of_their_own(home: Path, monkeypatch: pytest.MonkeyPatch):
    # However slow this machine is: what has not begun by then would go to the other worker.
    monkeypatch.setattr(dispatcher_module, "LOOK_AFTER", 3600)

    async def story() -> None:
        async with room(home, workers=2, slots=4, containers=3) as it:
            urgent = it.record(it.add(BOX)).id
            ids = [urgent, *(it.add(BOX) for _ in range(4))]
            await it.settle()
            begun = [a.id for worker in it.workers for a in worker.begin()]
            assert sorted(begun) == ids[:3]
            assert sorted(len(worker.seat.tasks) for worker in it.workers) == [1, 2]
            # They are told to wait in a line of their own: others pass.
            others = [it.add() for _ in range(5)]
            await it.settle()
            assert {a.id for worker in it.workers for a in worker.begin()} == set(others)
            assert [it.state(id) for id in ids[3:]] == [State.QUEUED] * 2
            worker = next(worker for worker in it.workers if ids[0] in worker.seat.tasks)
            worker.done(ids[0])
            await it.settle()
            assert [a.id for worker in it.workers for a in worker.begin()] == [ids[3]]

    asyncio.run(story())


def test_containers_wait_for_a_worker_with_a_slot(home: Path):
    async def story() -> None:
        async with room(home, workers=1, slots=1) as it:
            busy = it.add()
            await it.settle()
            it.workers[0].begin()
            box = it.add(BOX)
            await it.settle()
            assert it.entry(box).attempt is None
            it.workers[0].report(Report.PARKED, [busy], [])
            await it.settle()
            assert it.entry(box).attempt.seat is it.workers[0].seat

    asyncio.run(story())

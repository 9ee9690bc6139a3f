"""The queues on a real store: longer than memory, in order, and undisturbed by damaged rows."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from room import consistent, declared, lanes, room, small_windows
from understudy.actors.ids import new_id
from understudy.actors.state import State
from understudy.storage.tables.schema import READY, Lane, Table, live_id, live_key


def test_fifty_thousand_queued_tasks_stay_on_disk_and_run_in_order(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            small_windows(it, 1_000)
            ids = [it.add() for _ in range(50_000)]
            await it.settle()
            assert len(it.table.tasks) <= 2_100, "what is queued costs disk, not memory"
            assert it.commits.store.count(Table.LIVE) == 50_000
            first = it.hire()
            begun: list[bytes] = []
            for _ in range(400):
                await it.settle()
                for assignment in first.begin():
                    begun.append(assignment.id)
                    first.done(assignment.id)
                assert len(it.table.tasks) <= 4_000
            assert begun == ids[: len(begun)]
            assert len(begun) > 2_000
            consistent(it)

    asyncio.run(story())


def test_every_spilled_task_runs_once_while_others_come_and_go(home: Path):
    async def story() -> None:
        async with room(home, workers=2, slots=4) as it:
            small_windows(it, 20)
            expected: set[bytes] = set()
            begun: list[bytes] = []
            cancelled: set[bytes] = set()
            for turn in range(60):
                new = [
                    it.add("retried" if n % 3 else "quick", options={"priority": n % 5}) for n in range(20)
                ]
                expected.update(new)
                if turn % 5 == 0:
                    victim = new[7]
                    assert it.attempts.cancel(victim)
                    cancelled.add(victim)
                await asyncio.sleep(0)
                for puppet in it.workers:
                    for assignment in puppet.begin(3):
                        begun.append(assignment.id)
                        puppet.done(assignment.id)
            while len(begun) < len(expected) - len(cancelled):
                await it.settle()
                before = len(begun)
                for puppet in it.workers:
                    for assignment in puppet.begin():
                        begun.append(assignment.id)
                        puppet.done(assignment.id)
                assert len(begun) > before, "tasks are lost in their line"
            await it.settle()
            assert len(begun) == len(set(begun))
            assert set(begun) == expected - cancelled
            assert it.table.tasks == {}
            consistent(it)

    asyncio.run(story())


def test_a_delayed_task_stands_apart_until_it_is_due(home: Path):
    async def story() -> None:
        async with room(home) as it:
            later, at_once = it.add(due=time.time() + 3600), it.add()
            await it.settle()
            assert lanes(it)[Lane.DELAYED] == 1
            assert [a.id for a in it.workers[0].begin()] == [at_once]
            due = time.time() + 0.05
            soon = it.add(due=due)
            await it.until(lambda: [a.id for a in it.workers[0].begin()] == [soon])
            assert time.time() >= due
            assert it.state(later) is State.QUEUED
            await it.settle()
            consistent(it)

    asyncio.run(story())


def test_many_that_become_due_at_once_are_released_in_steps(home: Path):
    async def story() -> None:
        async with room(home, workers=0) as it:
            it.dispatcher.stop()
            due = time.time() + 3600
            ids = [it.add(due=due - 1) for _ in range(2_500)]
            assert it.table.release_due(due - 2, 1_000) == 0
            assert it.table.release_due(due, 1_000) == 1_000
            assert it.table.release_due(due, 1_000) == 1_000
            assert it.table.release_due(due, 1_000) == 500
            assert it.table.queues.next_due() is None
            await it.settle()
            assert lanes(it) == {Lane.SYNC: 2_500}
            assert {live_id(key) for key, _ in it.rows(Table.LIVE)} == set(ids)

    asyncio.run(story())


def test_a_far_time_is_never_and_no_error(home: Path):
    async def story() -> None:
        async with room(home, tasks={"kept": declared(keep=1.7e308)}) as it:
            id = it.add("kept", due=1e300)
            await it.settle()
            assert it.table.queues.next_due() is not None
            assert it.attempts.cancel(id)
            await it.settle()
            assert it.state(id) is State.CANCELLED
            assert await it.service.prune(time.time() + 1e9) == 0
            assert await it.service.prune(float("inf")) == 0  # its time is the last one there is

    asyncio.run(story())


@pytest.mark.parametrize("with_record", [False, True])
def test_a_row_that_belongs_to_no_task_does_not_stop_the_line(home: Path, with_record: bool, caplog: Any):
    """Damage: live rows of a task that is not there, or that stands elsewhere."""

    async def before() -> bytes:
        async with room(home, workers=0) as it:
            id = it.add() if with_record else new_id()
            for lane in (Lane.SYNC, Lane.DELAYED, Lane.RUNNING):
                it.commits.put(Table.LIVE, live_key(lane, 1, id), b"")
            await it.settle()
            return id

    async def after(damaged: bytes) -> None:
        async with room(home) as it:
            assert it.attempts.recover() == 0
            id = it.add()
            await it.settle()
            begun = [a.id for a in it.workers[0].begin()]
            assert begun == ([damaged, id] if with_record else [id])
            for one in begun:
                it.workers[0].done(one)
            await it.settle()
            assert "belongs to no queued task" in caplog.text
            if not with_record:
                assert it.rows(Table.LIVE) == []

    asyncio.run(after(asyncio.run(before())))


def test_what_was_running_is_queued_again_by_the_next_supervisor(home: Path):
    async def before() -> tuple[bytes, bytes, bytes]:
        async with room(home, slots=4) as it:
            running, cancelled, waiting = it.add(), it.add(), it.add()
            await it.settle()
            it.workers[0].begin(2)
            await it.until(lambda: it.attempt(running).begun and it.attempt(cancelled).begun)
            it.attempts.cancel(cancelled)
            await it.settle()
            assert lanes(it)[Lane.RUNNING] >= 2
            return running, cancelled, waiting

    async def after(running: bytes, cancelled: bytes, waiting: bytes) -> None:
        async with room(home, workers=0) as it:
            it.attempts.recover()
            await it.settle()
            record = it.record(running)
            assert (record.state, record.interruptions, record.attempt, record.pid) == (
                State.QUEUED,
                1,
                1,
                None,
            )
            assert it.state(cancelled) is State.CANCELLED, "its cancel was accepted and stands"
            assert it.state(waiting) is State.QUEUED
            assert lanes(it) == {Lane.SYNC: 2}
            consistent(it)

    asyncio.run(after(*asyncio.run(before())))


def test_every_lane_is_a_line_or_runs():
    waiting = {Lane.DELAYED, Lane.CODE, Lane.IDLE, Lane.RUNNING, Lane.HELD, Lane.GATE, Lane.BOX}
    assert {*READY, Lane.POOL, Lane.NO_POOL} | waiting == set(Lane)

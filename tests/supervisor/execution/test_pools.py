"""Pools in the dispatcher: which worker gets which task, and what is on disk. The workers are of paper."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from room import Puppet, Room, consistent, declared, lanes, learn_pace, room, small_windows
from understudy import Limit
from understudy.actors.errors import InvalidOption, UnknownPool
from understudy.actors.ids import new_id
from understudy.actors.state import Event, State
from understudy.actors.task.trigger import HTTP
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Lane, Table
from understudy.supervisor.tasks import gate as gate_module

MANY = Limit("many", concurrency=1_000)
TASKS = {
    "quick": declared(),
    "async": declared(is_async=True),
    "gpu": declared(pool="gpu"),
    "gpu_async": declared(pool="gpu", is_async=True),
    "gpu_alone": declared(pool="gpu", isolate=True),
    "gpu_retried": declared(pool="gpu", retry=2),
    "limited": {**declared(limit=MANY, limit_by="key"), "parameters": [["key", 1, False]]},
    "lost": declared(pool="lost"),
    "lost_limited": declared(pool="lost", limit=Limit("one", concurrency=1)),
}


def story(
    home: Path, play: Callable[[Room], Awaitable[None]], *, tasks: Any = TASKS, **settings: Any
) -> None:
    async def told() -> None:
        async with room(home, tasks=tasks, **{"workers": 0, "pools": {"gpu": 1}, **settings}) as it:
            await play(it)
            await it.settle()
            consistent(it)

    asyncio.run(told())


def names(_it: Room, puppet: Puppet) -> list[str]:
    """What the worker begins, in all lanes."""
    return [each.task for lane in (Lane.SYNC, Lane.ASYNC) for each in puppet.begin(lane=lane)]


def test_each_task_goes_to_a_worker_of_its_pool_and_to_no_other(home: Path):
    async def play(it: Room) -> None:
        for name in ("quick", "async", "gpu", "gpu_async"):
            it.add(name)
        await it.settle()
        assert lanes(it) == {Lane.SYNC: 1, Lane.ASYNC: 1, Lane.POOL: 2}
        gpu = it.hire(pool="gpu")
        await it.settle()
        assert sorted(names(it, gpu)) == ["gpu", "gpu_async"]
        other = it.hire()
        await it.settle()
        assert sorted(names(it, other)) == ["async", "quick"]

    story(home, play)


def test_a_run_of_an_http_request_has_room_of_its_own_in_a_pool(home: Path):
    async def play(it: Room) -> None:
        gpu = it.hire(pool="gpu")
        for _ in range(2):
            it.add("gpu")
        await it.settle()
        assert names(it, gpu) == ["gpu", "gpu"]
        for name in ("gpu", "gpu_async"):
            record = Record(id := new_id(), name, 0.0, id)
            record.kind = HTTP
            it.table.add([(record, None)])
        await it.settle()
        assert [each.task for each in gpu.begin(lane=Lane.RUN)] == ["gpu"]
        assert names(it, gpu) == ["gpu_async"]
        for task in list(gpu.seat.tasks.values()):
            gpu.done(task.id)
        await it.settle()
        assert gpu.seat.counts == dict.fromkeys(gpu.seat.counts, 0)

    story(home, play)


def test_isolated_tasks_and_suspects_get_workers_of_their_own_in_their_pool(home: Path):
    async def play(it: Room) -> None:
        shared = it.hire(pool="gpu")
        alone = it.add("gpu_alone")
        await it.settle()
        assert it.pool.wanted_in[-1] == "gpu"
        wrong = it.hire(alone=True)
        await it.settle()
        assert not wrong.seat.tasks
        own = it.hire(alone=True, pool="gpu")
        await it.settle()
        assert names(it, own) == ["gpu_alone"]
        own.done(alone)
        ids = [it.add("gpu_retried") for _ in range(2)]
        await it.settle()
        shared.begin()
        await it.settle()
        it.die(shared)
        await it.settle()
        assert [it.record(id).alone for id in ids] == [True, True]
        it.hire(pool="gpu")
        await it.settle()
        assert [it.state(id) for id in ids] == [State.QUEUED] * 2, "each needs a worker of its own"
        own = it.hire(alone=True, pool="gpu")
        await it.settle()
        assert names(it, own) == ["gpu_retried"]

    story(home, play)


def test_what_was_handed_out_is_taken_back_for_a_worker_of_the_same_pool_only(home: Path):
    async def play(it: Room) -> None:
        first = it.hire(pool="gpu")
        learn_pace(it.attempts.paces, "gpu", 0.0001)
        ids = [it.add("gpu") for _ in range(6)]
        await it.settle()
        begun = first.begin(2)
        assert len(begun) == 2
        other = it.hire()
        second = it.hire(pool="gpu")
        await it.until(lambda: len(second.seat.tasks) >= 2)
        assert len(first.seat.tasks) + len(second.seat.tasks) == len(ids)
        assert not other.seat.tasks, "it was idle all the time, but runs no tasks of this pool"

    story(home, play)


def test_a_long_queue_of_a_pool_is_on_disk_and_runs_in_order(home: Path):
    async def play(it: Room) -> None:
        small_windows(it, 50)
        ids = [it.add("gpu") for _ in range(2_000)]
        urgent = it.add("gpu", options={"priority": 1})
        await it.settle()
        assert len(it.table.tasks) <= 200
        assert lanes(it) == {Lane.POOL: 2_001}
        gpu = it.hire(pool="gpu")
        begun: list[bytes] = []
        while len(begun) < len(ids) + 1:
            await it.settle()
            for assignment in gpu.begin():
                begun.append(assignment.id)
                gpu.done(assignment.id)
        assert begun == [urgent, *ids]

    story(home, play)


def test_a_pool_that_takes_no_more_keeps_no_task_of_another_one_at_the_gate(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(gate_module, "LET_IN", 10)

    async def play(it: Room) -> None:
        def add(key: int, **options: Any) -> bytes:
            record = Record(id := new_id(), "limited", 0.0, id, options=options or None)
            record.limit_key = str(key)
            it.table.add([(record, None)])
            return id

        for key in range(40):
            add(key)
        await it.settle()
        gate = it.table.gate
        assert gate._let_in == {None: 10}
        gpu = it.hire(pool="gpu")
        beside = [add(100 + key, pool="gpu") for key in range(30)]
        begun: list[bytes] = []
        while len(begun) < len(beside):
            await it.settle()
            for assignment in gpu.begin():
                begun.append(assignment.id)
                gpu.done(assignment.id)
        assert sorted(begun) == sorted(beside)
        other = it.hire()
        done = 0
        while done < 40:
            await it.settle()
            for assignment in other.begin():
                done += 1
                other.done(assignment.id)
        await it.settle()
        assert gate._let_in.total() == 0
        assert gate._full == {}

    story(home, play)


def test_tasks_without_their_pool_wait_on_disk_and_go_on_with_it(home: Path):
    ids: list[bytes] = []

    async def without(it: Room) -> None:
        it.hire()
        ids.extend(it.add(name) for name in ("lost", "lost_limited", "lost_limited") for _ in range(20))
        await it.settle()
        assert lanes(it) == {Lane.NO_POOL: 60}
        assert len(it.table.tasks) == 0, "none of them is in memory"
        assert it.table.queues.absent(Lane.NO_POOL, 100) == {"lost": 20, "lost_limited": 40}
        assert {it.record(id).pool for id in ids} == {"lost"}
        assert it.attempts.cancel(ids.pop())

    async def there(it: Room) -> None:
        await it.settle()
        assert lanes(it) == {Lane.POOL: 20, Lane.GATE: 39}
        worker = it.hire(pool="lost")
        await it.settle()
        assert len(worker.seat.tasks) == it.settings.slots

    async def gone_again(it: Room) -> None:
        it.attempts.recover()
        await it.settle()
        assert lanes(it) == {Lane.NO_POOL: 59}
        assert not it.table.gate.states()[0].used

    async def elsewhere(it: Room) -> None:
        await it.settle()
        assert lanes(it) == {Lane.SYNC: 20, Lane.GATE: 39}
        assert {it.record(id).pool for id in ids} == {None}

    story(home, without)
    story(home, there, pools={"lost": 1})
    story(home, gone_again)
    elsewhere_now = {**TASKS, "lost": declared(), "lost_limited": declared(concurrency=1)}
    story(home, elsewhere, tasks=elsewhere_now)


def test_rows_of_a_pool_that_is_gone_are_found_also_if_they_were_never_in_memory(home: Path):
    async def fill(it: Room) -> None:
        for _ in range(3_000):
            it.add("gpu")
        await it.settle()
        assert lanes(it) == {Lane.POOL: 3_000}

    async def gone(it: Room) -> None:
        it.hire()
        await it.until(lambda: lanes(it) == {Lane.NO_POOL: 3_000})
        assert len(it.table.tasks) <= 2_000

    async def back(it: Room) -> None:
        await it.settle()
        await it.until(lambda: lanes(it) == {Lane.POOL: 3_000})

    story(home, fill)
    story(home, gone, pools={"io": 1})
    story(home, back)


def test_the_doors(home: Path):
    async def play(it: Room) -> None:
        admission = it.service._admission

        def row(name: str, options: Any = None) -> tuple[Any, ...]:
            id = new_id()
            return id, name, None, options, None, None, id, None

        for rows in (
            [row("lost")],
            [row("quick"), row("lost")],
            [row("quick", {"pool": "lost"})],
            [row("quick"), row("quick", {"pool": "lost"}), row("quick")],
            [row("quick", {"priority": 1}), row("lost")],
        ):
            with pytest.raises(UnknownPool, match=r"'lost'.*It has gpu") as refused:
                admission.start(rows)
            assert (refused.value.pool, refused.value.pools) == ("lost", ["gpu"])
        admission.start([row("lost", {"pool": "gpu"}), row("lost", {"pool": None}), row("gpu")])
        with pytest.raises(InvalidOption, match="container"):
            admission.start([row("understudy.box", {"pool": "gpu"})])
        with pytest.raises(UnknownPool):
            admission.check_task("lost", None, None)
        assert admission.check_task("lost", None, {"pool": "gpu", "metadata": {"a": "b"}}) == "lost"
        await it.settle()
        assert it.commits.store.count(Table.TASKS) == 3
        old = it.add("lost")
        it.table.end(it.entry(old), Event.CANCEL)
        await it.settle()
        with pytest.raises(UnknownPool):
            admission.retry(old, new_id(), from_scratch=False)
        assert it.commits.store.count(Table.TASKS) == 4

    story(home, play)

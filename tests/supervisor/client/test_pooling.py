"""What the workers of pools do, as programs see it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pool_tasks as tasks
from understudy import AsyncRuntime, PoolInfo, Runtime, sleep, task
from understudy.storage.reader import Reader
from understudy.testing import InlineRuntime
from waiting import until


@task(pool="cpu", name="pooling:work")
def work(seconds: float) -> None:
    sleep(seconds)


@task(pool="cpu", name="pooling:work_async")
async def work_async() -> None:
    pass


def of(rt: Runtime, name: str | None) -> PoolInfo:
    (info,) = [info for info in rt.pools() if info.name == name]
    return info


def test_each_pool_and_the_workers_without_one():
    with InlineRuntime(workers=2, slots=3, pools={"gpu": 2, "cpu": 1}, pool_slots={"gpu": 1}) as rt:
        assert [(info.name, info.workers, info.slots) for info in rt.pools()] == [
            (None, 2, 6),
            ("cpu", 1, 3),
            ("gpu", 2, 2),
        ]
        assert all((info.used, info.tasks, info.queued) == (0, 0, 0) for info in rt.pools())


def test_one_that_waits_takes_no_slot_and_is_a_task():
    with InlineRuntime(workers=1, pools={"cpu": 1}, pool_slots={"cpu": 2}) as rt:
        infos = rt.start_many(work, [(5.0,)] * 4)
        rt.settle()
        assert of(rt, "cpu") == PoolInfo("cpu", 1, 1, 2, 0, 4, 0)
        assert of(rt, None).tasks == 0
        for info in infos:
            info.cancel()
        rt.settle()
        assert of(rt, "cpu").tasks == 0


def test_what_is_queued_is_counted_once(home: Path, tmp_path: Path):
    with Runtime(home, app="pool_tasks", workers=1, pools={"gpu": 1}, pool_slots={"gpu": 2}, drain=0.2) as rt:
        infos = rt.start_many(tasks.render_slow, [(str(tmp_path), number) for number in range(400)])
        seen = [of(rt, "gpu")]
        while seen[-1].tasks or seen[-1].queued:
            # Each look has the disk a little later than the supervisor.
            assert seen[-1].used <= 2
            assert seen[-1].queued <= 400
            seen.append(of(rt, "gpu"))
            time.sleep(0.01)
        assert {2} <= {info.used for info in seen}
        assert any(100 < info.queued < 400 for info in seen), "it goes down"
        assert [info.result() for info in infos] == list(range(400))
        assert of(rt, None) == PoolInfo(None, 1, 1, 8, 0, 0, 0)


def test_actors_tasks_that_a_limit_has_let_in_and_isolated_ones_wait_too(home: Path, tmp_path: Path):
    with Runtime(home, app="pool_tasks", workers=1, pools={"gpu": 1}, pool_slots={"gpu": 1}, drain=0.2) as rt:
        block = rt.start(tasks.render_blocks, 30.0)
        until(lambda: of(rt, "gpu").used == 1, 20)
        rt.actor(tasks.Camera, "front").proxy().shoot()
        limited = rt.start_many(tasks.render_limited, [(str(tmp_path),)] * 5)
        until(lambda: of(rt, "gpu").queued == 3, 20, lambda: str(rt.pools()))  # a limit has let in two
        alone = rt.start(tasks.render_alone)
        until(lambda: of(rt, "gpu").processes == 2 or alone.status().ended, 20)
        alone.wait(20)
        block.cancel()
        for info in limited:
            info.wait(20)
        until(lambda: (of(rt, "gpu").used, of(rt, "gpu").queued) == (0, 0), 20, lambda: str(rt.pools()))


def test_a_reader_counts_no_more_than_it_is_told():
    with InlineRuntime(workers=1, slots=1, pools={"cpu": 1}, pool_slots={"cpu": 1}) as rt:
        rt.start_many(work, [(5.0,)] * 3)
        assert isinstance(rt._reader, Reader)
        waiting = rt._reader.waiting_in_pools(["cpu", None, "none"], most=2)
        assert waiting.keys() == {"cpu", None, "none"}
        assert waiting["cpu"] <= 2
        assert (waiting[None], waiting["none"]) == (0, 0)


def test_an_async_program(home: Path):
    async def ask() -> list[PoolInfo]:
        async with AsyncRuntime(home, app="pool_tasks", workers=1, pools={"gpu": 1}) as rt:
            return await rt.pools()

    assert [info.name for info in asyncio.run(ask())] == [None, "gpu"]

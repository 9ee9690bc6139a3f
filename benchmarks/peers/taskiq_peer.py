"""The Taskiq peer with taskiq-redis: a stream as broker, results in Redis, two worker processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskiq import AsyncTaskiqDecoratedTask
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from peers.redis_server import KEEPS as REDIS_KEEPS
from peers.redis_server import redis_server
from peers.worker_processes import running

TITLE = "Taskiq"
PACKAGES = ("taskiq", "taskiq-redis")
PROCESSES = "2 processes"
KEEPS = REDIS_KEEPS
DURABLE = True

#: Calls under way at once: with thousands it is slower.
AT_ONCE = 50


def broker_at(url: str) -> RedisStreamBroker:
    """A broker with its results in the same Redis."""
    return RedisStreamBroker(url=url).with_result_backend(RedisAsyncResultBackend(redis_url=url))


async def nothing() -> None:
    """A no-op."""


if url := os.environ.get("BENCH_REDIS_URL"):
    broker = broker_at(url)
    broker.register_task(nothing, task_name="noop")


class Session:
    """Calls from an event loop of this process."""

    def __init__(
        self, runner: asyncio.Runner, noop: AsyncTaskiqDecoratedTask[[], None], at_once: int = AT_ONCE
    ) -> None:
        self._runner = runner
        self._noop = noop
        self._at_once = at_once

    def many(self, count: int) -> None:
        self._runner.run(self._many(count))

    def one(self) -> None:
        self._runner.run(self._one())

    async def _many(self, count: int) -> None:
        gate = asyncio.Semaphore(self._at_once)

        async def kicked() -> object:
            async with gate:
                return await self._noop.kiq()

        async def checked(task: object) -> None:
            async with gate:
                result = await task.wait_result(check_interval=0.005, timeout=60)  # type: ignore[attr-defined]
            assert not result.is_err

        tasks = await asyncio.gather(*(kicked() for _ in range(count)))
        await asyncio.gather(*(checked(task) for task in tasks))

    async def _one(self) -> None:
        task = await self._noop.kiq()
        assert not (await task.wait_result(check_interval=0.001, timeout=60)).is_err


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """Redis, the workers, a client."""
    with redis_server(folder) as url, asyncio.Runner() as runner:
        near = broker_at(url)
        noop = near.register_task(nothing, task_name="noop")
        command = ["taskiq", "worker", "peers.taskiq_peer:broker", "--workers", str(workers)]
        with running([command], folder, {"BENCH_REDIS_URL": url}):
            runner.run(near.startup())
            yield Session(runner, noop)
            runner.run(near.shutdown())

"""The Xoscar peer: an actor in each of a pool's two processes, called from outside the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xoscar

TITLE = "Xoscar"
PACKAGES = ("xoscar",)
PROCESSES = "a pool of 2 processes, an actor in each"
KEEPS = "nothing"
DURABLE = False


class Worker(xoscar.Actor):  # type: ignore[misc]
    """Does nothing."""

    def noop(self) -> None:
        """A no-op."""


class Session:
    """Calls from an event loop of this process."""

    def __init__(self, runner: asyncio.Runner, actors: list[Any]) -> None:
        self._runner = runner
        self._actors = actors

    def many(self, count: int) -> None:
        self._runner.run(self._many(count))

    def one(self) -> None:
        self._runner.run(self._many(1))

    async def _many(self, count: int) -> None:
        actors = self._actors
        found = await asyncio.gather(*(actors[n % len(actors)].noop() for n in range(count)))
        assert found == [None] * count


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """The pool and its actors."""
    with asyncio.Runner() as runner:
        pool = runner.run(xoscar.create_actor_pool("127.0.0.1", n_process=workers))

        async def actors() -> list[Any]:
            return [
                await xoscar.create_actor(Worker, address=address, uid=f"worker-{n}")
                for n, address in enumerate(list(pool.sub_processes))
            ]

        yield Session(runner, runner.run(actors()))
        runner.run(pool.stop())

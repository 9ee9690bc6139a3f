"""The Xoscar peer with many actors: they are spread over a pool's two processes, and are called from outside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import xoscar

TITLE = "Xoscar actors"
PACKAGES = ("xoscar",)
PROCESSES = "a pool of 2 processes, the actors spread over them"
KEEPS = "nothing"
DURABLE = False


class Counter(xoscar.Actor):  # type: ignore[misc]
    """Counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def add(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count


class Session:
    """Calls from an event loop of this process."""

    def __init__(self, runner: asyncio.Runner, places: list[str]) -> None:
        self._runner = runner
        self._places = places
        self._actors: list[Any] = []

    def many(self, count: int, actors: int = 1) -> None:
        self._runner.run(self._many(count, actors))

    def one(self) -> None:
        self._runner.run(self._many(1, 1))

    async def _many(self, count: int, actors: int) -> None:
        while len(self._actors) < actors:
            number = len(self._actors)
            place = self._places[number % len(self._places)]
            self._actors.append(await xoscar.create_actor(Counter, address=place, uid=f"counter-{number}"))
        found = await asyncio.gather(*(self._actors[n % actors].add(1) for n in range(count)))
        assert len(found) == count


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """The pool; the actors are made when they are first called."""
    with asyncio.Runner() as runner:
        pool = runner.run(xoscar.create_actor_pool("127.0.0.1", n_process=workers))
        yield Session(runner, list(pool.sub_processes))
        runner.run(pool.stop())

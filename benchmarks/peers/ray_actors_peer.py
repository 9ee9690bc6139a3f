"""The peer of Ray actors on this machine. Each is a process, so there are at most `MOST` of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from peers import ray_peer

#: Actors that share the calls to a hundred: more processes do not make two processors faster.
MOST = 10

TITLE = "Ray actors"
PACKAGES = ("ray",)
PROCESSES = f"a process for each actor, at most {MOST}"
KEEPS = "nothing"
DURABLE = False


@ray.remote(num_cpus=0)
class Counter:
    """Counts."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        """Change it."""
        self.count += n
        return self.count


class Session:
    """Calls from the driver."""

    def __init__(self) -> None:
        self._actors: list[Any] = []

    def many(self, count: int, actors: int = 1) -> None:
        actors = min(actors, MOST)
        while len(self._actors) < actors:
            self._actors.append(Counter.remote())
        found = ray.get([self._actors[n % actors].add.remote(1) for n in range(count)], timeout=60)
        assert len(found) == count

    def one(self) -> None:
        assert ray.get(self._actors[0].add.remote(1), timeout=60) > 0


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """Ray; the actors are made when they are first called."""
    with ray_peer.opened(folder, workers):
        yield Session()

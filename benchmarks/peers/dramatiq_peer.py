"""The Dramatiq peer: Redis for tasks and results, two processes of eight threads (the default)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from peers.redis_server import KEEPS as REDIS_KEEPS
from peers.redis_server import redis_server
from peers.worker_processes import running

TITLE = "Dramatiq"
PACKAGES = ("dramatiq", "redis")
PROCESSES = "2 processes of 8 threads"
KEEPS = REDIS_KEEPS
DURABLE = True


def broker_at(url: str) -> RedisBroker:
    """A broker with its results in the same Redis."""
    broker = RedisBroker(url=url)
    broker.add_middleware(Results(backend=RedisBackend(url=url)))
    return broker


if url := os.environ.get("BENCH_REDIS_URL"):
    dramatiq.set_broker(broker_at(url))

    @dramatiq.actor(store_results=True)
    def noop() -> None:
        """A no-op."""


class Session:
    """Calls on this process's own connections."""

    def __init__(self, actor: dramatiq.Actor) -> None:
        self._actor = actor

    def many(self, count: int) -> None:
        messages = [self._actor.send() for _ in range(count)]
        for message in messages:
            assert message.get_result(block=True, timeout=60_000) is None

    def one(self) -> None:
        assert self._actor.send().get_result(block=True, timeout=60_000) is None


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """Redis, the workers, a client."""
    with redis_server(folder) as url:
        broker = broker_at(url)
        dramatiq.set_broker(broker)
        actor = dramatiq.actor(lambda: None, actor_name="noop", store_results=True, broker=broker)
        command = ["dramatiq", "peers.dramatiq_peer", "--processes", str(workers)]
        with running([command], folder, {"BENCH_REDIS_URL": url}):
            yield Session(actor)

"""The RQ peer: two standard workers, which fork for each job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job

from peers.redis_server import KEEPS as REDIS_KEEPS
from peers.redis_server import redis_server
from peers.worker_processes import running

TITLE = "RQ"
PACKAGES = ("rq", "redis")
PROCESSES = "2 workers, a fork for each job"
KEEPS = REDIS_KEEPS
DURABLE = True


def noop() -> None:
    """A no-op."""


class Session:
    """Calls on this process's own connection."""

    def __init__(self, connection: Redis[Any]) -> None:
        self._connection = connection
        self._queue = Queue(connection=connection)

    def many(self, count: int) -> None:
        data = [Queue.prepare_data(noop) for _ in range(count)]
        for job in self._queue.enqueue_many(data):
            self._check(job)

    def one(self) -> None:
        self._check(self._queue.enqueue(noop))

    def _check(self, job: Job) -> None:
        result = job.latest_result(timeout=60)
        assert result is not None
        assert result.type is result.Type.SUCCESSFUL


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """Redis, the workers, a client."""
    with redis_server(folder) as url:
        command = ["rq", "worker", "--url", url, "--logging_level", "ERROR"]
        with running([command] * workers, folder, {}):
            connection = Redis.from_url(url)
            yield Session(connection)
            connection.close()

"""The Celery peer: Redis as broker and result backend, one worker of two prefork processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery

from peers.redis_server import KEEPS as REDIS_KEEPS
from peers.redis_server import redis_server
from peers.worker_processes import running

TITLE = "Celery"
PACKAGES = ("celery", "redis")
PROCESSES = "1 worker, 2 prefork processes"
KEEPS = REDIS_KEEPS
DURABLE = True

URL = os.environ.get("BENCH_REDIS_URL", "redis://")

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task(name="noop")
def noop() -> None:
    """A no-op."""


class Session:
    """Calls on this process's own connections."""

    def many(self, count: int) -> None:
        results = [noop.delay() for _ in range(count)]  # faster than a group of them
        found = [result.get(timeout=60) for result in results]
        assert found == [None] * count, f"{len(found)} of {count} results"

    def one(self) -> None:
        assert noop.delay().get(timeout=60) is None


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """Redis, the worker, a client."""
    with redis_server(folder) as url:
        app.conf.update(broker_url=url, result_backend=url)
        command = ["celery", "--app", "peers.celery_peer", "worker", "--pool", "prefork"]
        command += ["--concurrency", str(workers), "--loglevel", "ERROR"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        with running([command], folder, {"BENCH_REDIS_URL": url}):
            yield Session()

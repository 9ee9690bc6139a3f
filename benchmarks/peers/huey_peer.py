"""The Huey peer on SQLite: a consumer of two processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huey import SqliteHuey

from peers.worker_processes import running

TITLE = "Huey"
PACKAGES = ("huey",)
PROCESSES = "1 consumer, 2 processes"
KEEPS = "SQLite, with fsync"
DURABLE = True

# Without a file yet, it must not create one in the folder of the import.
huey = SqliteHuey("bench", filename=os.environ.get("BENCH_HUEY", ":memory:"), fsync=True)


@huey.task(name="noop")
def noop() -> bool:
    """Nearly a no-op: a task that returns None stores no result to wait for."""
    return True


class Session:
    """Calls on the same file."""

    def many(self, count: int) -> None:
        results = [noop() for _ in range(count)]
        for result in results:
            assert result.get(blocking=True, timeout=60, backoff=1.0, max_delay=0.005)

    def one(self) -> None:
        assert noop().get(blocking=True, timeout=60, backoff=1.0, max_delay=0.001)


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """The consumer and a client."""
    file = os.fspath(folder / "huey.db")
    huey.storage.filename = file
    huey.storage.initialize_schema()
    command = ["huey_consumer", "peers.huey_peer.huey", "--workers", str(workers), "--worker-type", "process"]
    command += ["--delay", "0.005", "--max-delay", "0.02", "--quiet", "--no-periodic"]
    with running([command], folder, {"BENCH_HUEY": file}):
        yield Session()

"""The APScheduler peer: jobs in the memory of one process, and a pool of threads."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

TITLE = "APScheduler"
PACKAGES = ("apscheduler",)
PROCESSES = "1 process, 10 threads"
KEEPS = "nothing: the default job store"
DURABLE = False

#: Seconds from adding a single job to its time; and jobs that are added in a second, at least.
SOON = 0.1
ADDED = 1_000

_late: queue.SimpleQueue[float] = queue.SimpleQueue()


def told(due: float) -> None:
    """The job: how many seconds after its time its first line runs."""
    _late.put(time.time() - due)


class Session:
    """A scheduler in this process. Its calls return how late the jobs were, in seconds."""

    def __init__(self, scheduler: BackgroundScheduler) -> None:
        self._scheduler = scheduler

    def many(self, count: int) -> float:
        """The 99th percentile of so many jobs that are due at the same time."""
        due = time.time() + 1 + count / ADDED
        self._add(due, count)
        assert time.time() < due, "this machine takes too long to add the jobs"
        late = sorted(_late.get(timeout=60) for _ in range(count))
        return late[int(0.99 * (count - 1))]

    def one(self) -> float:
        """One job."""
        self._add(time.time() + SOON, 1)
        return _late.get(timeout=60)

    def _add(self, due: float, count: int) -> None:
        when = datetime.fromtimestamp(due, UTC)
        for _ in range(count):
            self._scheduler.add_job(told, "date", run_date=when, args=[due])


@contextmanager
def opened(folder: Path, workers: int) -> Iterator[Session]:
    """The scheduler. Its threads are those of its default; the jobs do next to nothing."""
    scheduler = BackgroundScheduler(
        executors={"default": ThreadPoolExecutor(10)},
        job_defaults={"misfire_grace_time": None},
        timezone="UTC",
    )
    scheduler.start()
    try:
        yield Session(scheduler)
    finally:
        scheduler.shutdown()

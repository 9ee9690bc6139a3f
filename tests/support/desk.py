"""A store with the part of the supervisor's loop that it needs."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

from understudy.actors.errors import StoreError, UnderstudyError
from understudy.storage.batch import Batch
from understudy.storage.store import Store
from understudy.storage.tables.prune import expiry_rows
from understudy.storage.tables.record import Record
from understudy.storage.tables.schema import Table
from waiting import until


class Desk:
    """A store and its loop, which reports commits to it and runs the acks in the calling thread."""

    def __init__(self, kind: type[Store], home: Path, **options: Any) -> None:
        self.commits: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self.troubles: list[StoreError] = []
        self.recoveries = 0
        self.failures: list[StoreError] = []
        self.store = kind.open(
            home,
            on_commit=self.commits.put,
            on_trouble=self.troubles.append,
            on_recovered=self._recovered,
            on_fatal=self.failures.append,
            **options,
        )

    def _recovered(self) -> None:
        self.recoveries += 1

    def pump(self) -> None:
        """The work of the loop after each wake: learn of commits, send the next batch."""
        while not self.commits.empty():
            batch = self.commits.get()
            self.store.committed(batch)
            for ack in batch.acks:
                ack()
        self.store.seal()

    def flush(self, timeout: float = 20) -> None:
        """Wait until everything is committed and reported."""

        def idle() -> bool:
            self.pump()
            assert not self.failures, self.failures
            return not self.store.busy and self.store.batch.empty

        until(idle, timeout)

    def compact(self) -> UnderstudyError | None:
        done: queue.SimpleQueue[UnderstudyError | None] = queue.SimpleQueue()
        self.store.compact(done.put)
        return done.get(timeout=20)


def expire(store: Store, record: Record, keep: float | None) -> None:
    """Make an ended task expire `keep` seconds after its end, as the task table does."""
    assert record.ended is not None
    if keep is not None:
        store.batch.merge(Table.EXPIRY, expiry_rows(record.ended + keep, [record.id]), 24)

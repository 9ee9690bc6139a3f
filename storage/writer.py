"""Writer: the thread that commits batches to LMDB, and waits while the disk is full.

The submitting thread may commit a small batch itself if there is nothing else to write. On a fast disk, the
handover to the writer's thread and back costs as much as the commit.

Guarantees:

1. Batches are committed in the order of `submit`, each in one transaction. `on_commit` follows each commit.
2. A full map or disk loses nothing. The same batch is tried again until there is room or `close` gives up.
3. After any other error no more is written, `on_fatal` is called once, and `submit` raises.
4. An error raised by a callback is fatal too. It never ends the thread silently.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from ..actors.errors import StoreError, StoreFull, UnderstudyError
from .batch import Batch
from .environment import Environment

FIRST_RETRY: Final = 0.1
"""Seconds before the first retry of a write to a full disk; doubled for each retry up to LAST_RETRY."""

LAST_RETRY: Final = 1.0

Job = Callable[[], None]
"""A function that the writer's thread calls between two batches."""


class Writer:
    """Commits batches to an environment.

    All callbacks run in the writer's thread. `commit` may also call `on_fatal`.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        on_commit: Callable[[Batch], None],
        on_trouble: Callable[[StoreFull], None],
        on_recovered: Callable[[], None],
        on_fatal: Callable[[StoreError], None],
    ) -> None:
        self._environment = environment
        self._on_commit = on_commit
        self._on_trouble = on_trouble
        self._on_recovered = on_recovered
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[Batch | Job | None] = queue.SimpleQueue()
        # Items put into the queue, counted by its only producer, and items finished, counted by the thread.
        self._put_in = self._got_done = 0
        #: Whether the disk is full and the current batch is being retried.
        self.full = False
        #: The fatal error that ended the thread.
        self.failure: StoreError | None = None
        self._lost = 0
        self._closed = False
        self._give_up_at = float("inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="understudy-writer", daemon=True)
        self._thread.start()

    def submit(self, item: Batch | Job) -> None:
        """Queue this batch for commit, or this job, which runs while no batch is being written.

        Raises the fatal StoreError if there was one, StoreError after `close`.
        """
        if self.failure is not None:
            raise self.failure
        if self._closed:
            raise StoreError("the store was closed; open it again")
        self._put_in += 1
        self._queue.put(item)

    def commit(self, batch: Batch) -> bool:
        """Commit this batch in the calling thread, which must be the submitting one, and wait for the disk.

        Returns False without a commit if the writer's thread is busy or stopped, the disk is full, or the commit has
        to wait for readers of old states.
        `on_commit` is not called.
        """
        if self._put_in != self._got_done or self.failure is not None or self._closed:
            return False
        try:
            return len(batch) == 0 or self._environment.commit(batch, patient=False)
        except StoreFull:
            return False
        except Exception as error:  # noqa: BLE001 - any error is fatal, as in the thread
            self._fail(error)
            return False

    def close(self, timeout: float) -> StoreError | None:
        """Commit the submitted batches, for at most `timeout` seconds; may be called twice.

        Returns an error that describes the lost rows; None if none were lost. The environment may be closed
        if `stopped` is True.
        """
        if not self._closed:
            self._closed = True
            self._give_up_at = time.monotonic() + timeout
            self._closing.set()
            self._queue.put(None)
        self._thread.join(timeout)
        if self.failure is not None:
            return self.failure
        if self._thread.is_alive():
            return StoreError(f"the disk did not take the last writes within {timeout:g} s; they may be lost")
        if self._lost:
            return StoreFull(
                f"the disk stayed full: {self._lost} rows that were never acknowledged are lost. "
                "Free space and start again"
            )
        return None

    @property
    def stopped(self) -> bool:
        """Whether the thread has ended, so that it no longer uses the environment."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                if not isinstance(item, Batch):
                    item()
                    self._got_done += 1
                    continue
                written = self._write(item)
                # Counted before the loop hears of it: the loop may then commit by itself.
                self._got_done += 1
                if written:
                    self._on_commit(item)
        except BaseException as error:  # noqa: BLE001 - the loop must learn of any error
            self._fail(error)

    def _write(self, batch: Batch) -> bool:
        """Whether the batch is on disk."""
        if not self._lost and (len(batch) == 0 or self._commit(batch)):
            return True
        self._lost += len(batch)  # later batches may depend on a lost one
        return False

    def _commit(self, batch: Batch) -> bool:
        """Commit the batch; returns False if the disk stayed full until `close` gave up."""
        delay = FIRST_RETRY
        while True:
            try:
                self._environment.commit(batch)
            except StoreFull as error:
                if not self.full:
                    self.full = True
                    self._on_trouble(error)
                if not self._pause(delay):
                    return False
                delay = min(2 * delay, LAST_RETRY)
            else:
                if self.full:
                    self.full = False
                    self._on_recovered()
                return True

    def _pause(self, delay: float) -> bool:
        """Wait for the next retry; returns False if no time is left for one."""
        if not self._closing.wait(delay):
            return True
        left = self._give_up_at - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(FIRST_RETRY, left))
        return True

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, StoreError):
            failure = error
        else:
            said = f"the store's writer stopped: {type(error).__name__}: {error}"
            failure = StoreError(
                said if isinstance(error, UnderstudyError) else f"{said}. Please report this"
            )
            failure.__cause__ = error
        self.failure = failure
        self._on_fatal(failure)

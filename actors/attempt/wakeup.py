"""The wakeup of one waiting thread. Each wait has its own."""

from __future__ import annotations

import threading


class Wakeup:
    """Any thread may ring; one thread waits. A ring before the wait ends the next wait at once.

    It is only a lock. An Event can wake several threads, which is not needed here. For that it has a
    condition with a queue of waiters, which takes 1.5 KB for each of the thousands of tasks that may wait in
    a worker.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """End the wait, or the next one."""
        try:
            self._lock.release()
        except RuntimeError:
            # An earlier ring has not been consumed yet.
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next ring; False when `timeout` seconds run out."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

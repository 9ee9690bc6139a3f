"""What wakes a thread that waits. Each wait has a wakeup of its own."""

from __future__ import annotations

import threading


class Wakeup:
    """Rung by any thread, waited for by one: a ring that nobody waits for yet ends the next wait at once.

    A lock and nothing else. An Event can wake several threads, which is not needed here, and is a condition with a
    queue of waiters for that: a kilobyte and a half, held by each of the thousands of tasks that a worker has waiting.
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
            # It was rung before, and not heard yet.
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next ring; False when `timeout` seconds run out."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

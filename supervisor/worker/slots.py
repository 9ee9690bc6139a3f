"""`Slots`, the threads of a worker that run sync tasks.

A slot is the right to work, not a thread. There are `limit` slots, and a task begins only with a free slot. A
waiting task keeps its thread, because its stack is there, but gives up its slot. A task that wakes up
continues at once, so that more tasks than slots may be working. Then no task begins until there is a free
slot.

Tasks known to take microseconds run one after the other on one thread, because switching threads for each of
them would cost more than the tasks. If one of them takes longer, a watching thread notices after `PATIENCE`
seconds and wakes another thread for the tasks that are queued behind it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ...actors.attempt.helper_threads import start_outside
from ...actors.attempt.host import Assignment
from ..channel.begin_tokens import BeginTokens

#: Seconds without a beginning task after which queued tasks get another thread.
PATIENCE: Final = 0.005
#: Seconds until the system is asked again for a thread after it has refused one.
REFUSED: Final = 0.1


log = logging.getLogger("understudy")


class Slots:
    """Runs assignments on re-used threads in the order of their arrival. Each needs a token to begin."""

    def __init__(
        self,
        limit: int,
        tokens: BeginTokens,
        perform: Callable[[Assignment], None],
        before_idle: Callable[[], None],
        quick: Callable[[Assignment], bool] = lambda _: False,
        on_broken: Callable[[], None] = lambda: None,
        on_thread: Callable[[], object] = lambda: None,
    ) -> None:
        self._limit = limit
        self._tokens = tokens
        self._perform = perform
        #: Called by a thread that can no longer take tokens.
        self._on_broken = on_broken
        #: Called by each new thread.
        self._on_thread = on_thread
        #: Called by a thread that has no more work, before it sleeps.
        self._before_idle = before_idle
        self._change = threading.Condition(threading.Lock())
        self._queue: deque[Assignment] = deque()
        self._working = 0
        self._stopped = False
        #: Threads that sleep or have not taken their first assignment yet.
        self._free = 0
        self._threads = 0
        #: Whether the system refused the last requested thread.
        self._refused = False
        #: Whether an assignment is known to take microseconds.
        self._quick = quick
        #: Threads that work on quick assignments; assignments begun so far.
        self._sprinting = 0
        self._begun = 0
        #: Set when assignments are queued behind a thread that works on quick ones.
        self._crowded = threading.Event()
        threading.Thread(target=self._watch, name="understudy-slots", daemon=True).start()

    def work_here(self, begin: Callable[[], object]) -> None:
        """Run tasks on the calling thread, which is the first one. `begin` is called when it is counted."""
        with self._change:
            self._free += 1
            self._threads += 1
        begin()
        self._run()

    def stop(self) -> None:
        """Let `work_here` return when it has no task."""
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def add(self, assignments: list[Assignment]) -> None:
        """Queue assignments."""
        with self._change:
            self._queue.extend(assignments)
            self._rouse()

    def drop(self, count: int) -> list[Assignment]:
        """Remove the last `count` assignments, which the supervisor takes back, and return them."""
        with self._change:
            return [self._queue.pop() for _ in range(min(count, len(self._queue)))]

    def parked(self) -> None:
        """A working task begins to wait."""
        with self._change:
            self._working -= 1
            self._rouse()

    def resumed(self) -> None:
        """A waiting task continues."""
        with self._change:
            self._working += 1

    def _rouse(self) -> None:
        """Wake a thread if the queue has work for it and no thread is about to take that."""
        if self._queue and self._working < self._limit:
            if self._sprinting:
                self._crowded.set()
            else:
                self._rouse_another()

    def _rouse_another(self) -> None:
        if self._queue and self._working < self._limit:
            if self._free:
                self._change.notify()
            else:
                self._start_thread()

    def _start_thread(self) -> None:
        self._free += 1
        self._threads += 1
        try:
            # It may be asked for by a task that begins to wait.
            start_outside(threading.Thread(target=self._run, name="understudy-slot", daemon=True))
        except RuntimeError as error:
            # The system gives this process no more threads. The next free thread continues with the queue.
            # Until then the watching thread asks again.
            self._free -= 1
            self._threads -= 1
            if not self._refused:
                self._refused = True
                log.warning("cannot start a thread for another task: %s", error)
            self._crowded.set()
        else:
            self._refused = False

    def _watch(self) -> None:
        """Wake another thread if one that runs quick tasks has begun none for `PATIENCE` seconds."""
        while True:
            self._crowded.wait()
            self._crowded.clear()
            begun = -1
            while begun != self._begun:
                begun = self._begun
                time.sleep(PATIENCE)
            if self._refused:
                time.sleep(REFUSED)
            with self._change:
                self._rouse_another()

    def _run(self) -> None:
        quick: bool | None = None
        try:
            self._on_thread()
            while (found := self._next(quick)) is not None:
                assignment, quick = found
                try:
                    self._perform(assignment)
                except BaseException:
                    log.exception("task %s could not be run", assignment.task)
        except OSError:
            # A task has closed a file descriptor of the worker's.
            self._on_broken()
            raise

    def _next(self, quick: bool | None) -> tuple[Assignment, bool] | None:
        """Wait for the next assignment and whether it is quick; None if this thread is not needed.

        `quick`: whether this thread's last assignment was quick; None if there was none.
        """
        with self._change:
            if quick is not None:
                self._working -= 1
                self._free += 1
                self._sprinting -= quick
            reported = False
            while True:
                # If it fails, the supervisor has taken back the rest of the queue. Its DROP order follows.
                if self._queue and self._working < self._limit and self._tokens.take():
                    self._free -= 1
                    self._working += 1
                    self._begun += 1
                    assignment = self._queue.popleft()
                    quick = self._quick(assignment)
                    self._sprinting += quick
                    self._rouse()
                    return assignment, quick
                if not reported:
                    self._change.release()
                    try:
                        self._before_idle()
                    finally:
                        self._change.acquire()
                    reported = True
                    continue
                if self._free > self._limit or self._stopped:
                    self._free -= 1
                    self._threads -= 1
                    return None
                self._change.wait()
                reported = False

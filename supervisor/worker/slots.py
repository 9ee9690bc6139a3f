"""The threads that sync tasks run on. A slot is the right to work, not a thread: a task that waits gives its slot up.

At most `limit` tasks work at once. A waiting task keeps its thread (its stack is there) but holds no slot, so another
task may begin; when it wakes it goes on at once, and for that moment there may be more at work than slots. Nothing
new begins until there are fewer again.

Tasks that are known to take microseconds are run by one thread in a row: threads that hand the interpreter to each
other for every one of them cost more than the tasks. Should one of those take its time after all, a watching thread
notices within `PATIENCE` seconds and wakes another for what is queued behind it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from ...actors.attempt.host import Assignment
from ..channel.begin_tokens import BeginTokens

#: Seconds without a new beginning after which what is queued gets another thread.
PATIENCE: Final = 0.005
#: Seconds until the system is asked again for a thread that it has refused.
REFUSED: Final = 0.1


log = logging.getLogger("understudy")


class Slots:
    """Runs assignments on re-used threads, in the order they were added, each once a token was taken for it."""

    def __init__(
        self,
        limit: int,
        tokens: BeginTokens,
        perform: Callable[[Assignment], None],
        before_idle: Callable[[], None],
        quick: Callable[[Assignment], bool] = lambda _: False,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._limit = limit
        self._tokens = tokens
        self._perform = perform
        #: Called by a thread that cannot take tokens any more.
        self._on_broken = on_broken
        #: Called by a thread that has run out of work, before it sleeps.
        self._before_idle = before_idle
        self._change = threading.Condition(threading.Lock())
        self._queue: deque[Assignment] = deque()
        self._working = 0
        #: Threads that sleep, or are on their way to their first assignment.
        self._free = 0
        self._threads = 0
        #: Whether the system has refused the last thread that was asked for.
        self._refused = False
        #: Whether an assignment is known to take microseconds.
        self._quick = quick
        #: Threads that work on such ones, and assignments begun so far.
        self._sprinting = 0
        self._begun = 0
        #: Set when something is queued behind a thread that works on quick ones.
        self._crowded = threading.Event()
        threading.Thread(target=self._watch, name="understudy-slots", daemon=True).start()

    def add(self, assignments: list[Assignment]) -> None:
        """More to do."""
        with self._change:
            self._queue.extend(assignments)
            self._rouse()

    def drop(self, count: int) -> list[Assignment]:
        """The last so many have been taken back by the supervisor."""
        with self._change:
            return [self._queue.pop() for _ in range(min(count, len(self._queue)))]

    def parked(self) -> None:
        """A working task waits now."""
        with self._change:
            self._working -= 1
            self._rouse()

    def resumed(self) -> None:
        """A waiting task goes on."""
        with self._change:
            self._working += 1

    def _rouse(self) -> None:
        """Have a thread look at the queue if it may find work there, and none is about to."""
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
            threading.Thread(target=self._run, name="understudy-slot", daemon=True).start()
        except RuntimeError as error:
            # The system gives this process no more threads. The next one to become free goes on with the queue; until
            # then the watching thread asks again.
            self._free -= 1
            self._threads -= 1
            if not self._refused:
                self._refused = True
                log.warning("no thread for another task: %s", error)
            self._crowded.set()
        else:
            self._refused = False

    def _watch(self) -> None:
        """Wake another thread when one that runs quick tasks has stopped getting anywhere."""
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
            while (found := self._next(quick)) is not None:
                assignment, quick = found
                try:
                    self._perform(assignment)
                except BaseException:
                    log.exception("task %s could not be performed", assignment.task)
        except OSError:
            # A task has closed what is not its own.
            self._on_broken()
            raise

    def _next(self, quick: bool | None) -> tuple[Assignment, bool] | None:
        """Wait for the next assignment and whether it is quick; None if there are threads enough without this one.

        `quick` says what the one that this thread has just performed was; None if it has performed none.
        """
        with self._change:
            if quick is not None:
                self._working -= 1
                self._free += 1
                self._sprinting -= quick
            reported = False
            while True:
                # A failed take means that the supervisor has taken the rest of the queue back and says so soon.
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
                if self._free > self._limit:
                    self._free -= 1
                    self._threads -= 1
                    return None
                self._change.wait()
                reported = False

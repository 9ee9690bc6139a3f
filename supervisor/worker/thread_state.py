"""`ThreadState`: the state of a thread that runs one sync task after the other.

A task may leave things behind in its thread, and the next task there would find them. Context variables need no care
here, because each task has a context of its own. What belongs to the whole process cannot be set back; docs/tasks.md
lists it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any


class ThreadState:
    """Used by its own thread only."""

    def __init__(self, signals: set[Any]) -> None:
        """`signals`: the signal mask of a thread in which no task has run.

        Resets the thread at once: a thread inherits mask and processors from the thread that starts it, and a
        task may have changed those.
        """
        self._signals = signals
        self._thread = threading.current_thread()
        self._name = self._thread.name
        self._trace = sys.gettrace()
        self._profile = sys.getprofile()
        self.reset()

    def reset(self) -> bool:
        """Set back all that a task has changed; whether there was anything."""
        changed = False
        if sys.gettrace() is not self._trace:
            sys.settrace(self._trace)
            changed = True
        if sys.getprofile() is not self._profile:
            sys.setprofile(self._profile)
            changed = True
        if self._thread.name != self._name:
            self._thread.name = self._name
            changed = True
        if _event_loop() is not None:
            # Not closed: another thread may run it.
            asyncio.set_event_loop(None)
            changed = True
        if signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self._signals:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._signals)
            changed = True
        return self._reset_processors() or changed

    def _reset_processors(self) -> bool:
        # The main thread runs no tasks, and follows the changes of an administrator and of the kernel.
        with suppress(OSError):
            usual = os.sched_getaffinity(os.getpid())
            if os.sched_getaffinity(0) != usual:
                os.sched_setaffinity(0, usual)
                return True
        return False


def _event_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that `asyncio.set_event_loop` has set in this thread. asyncio has no way to ask without making one."""
    policy = getattr(asyncio.events, "_get_event_loop_policy", asyncio.get_event_loop_policy)()
    loop: asyncio.AbstractEventLoop | None = getattr(getattr(policy, "_local", None), "_loop", None)
    return loop

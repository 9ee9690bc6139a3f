"""`LoopExecutor`: the threads in which an event loop makes the blocking calls of many tasks.

asyncio's own executor has a few threads for the whole loop: some tasks that block them, or that have ended and left
their calls behind, would hold up the name look-ups and `to_thread` calls of all others. Here each task has that
many threads, and all tasks together have as many as they need.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from .actor import TaskActor, running_actor

#: Threads that the calls of one task may take at the same time: as many as asyncio gives to a whole loop.
EACH: Final = min(32, (os.cpu_count() or 1) + 4)
#: Threads of all tasks together; each is made when it is needed.
ALL: Final = 100_000

Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _Share:
    """What one task has in the executor."""

    __slots__ = ("queue", "threads")

    def __init__(self) -> None:
        self.threads = 0
        self.queue: deque[Call] = deque()


class LoopExecutor(ThreadPoolExecutor):
    """For `loop.set_default_executor`. Calls of no task share the threads of one."""

    def __init__(self) -> None:
        super().__init__(ALL, thread_name_prefix="understudy-call")
        self._sharing = threading.Lock()
        self._shares: dict[TaskActor | None, _Share] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor.submit`."""
        owner = running_actor()
        call: Call = (Future(), fn, args, kwargs)
        with self._sharing:
            share = self._shares.setdefault(owner, _Share())
            share.queue.append(call)
            if share.threads == EACH:
                return call[0]
            share.threads += 1
        try:
            super().submit(self._run, owner, share)
        except BaseException:
            with self._sharing:
                share.threads -= 1
                if call in share.queue:
                    share.queue.remove(call)
            raise
        return call[0]

    def _run(self, owner: TaskActor | None, share: _Share) -> None:
        """Make the calls of one task until none is left."""
        while True:
            with self._sharing:
                if not share.queue:
                    share.threads -= 1
                    if not share.threads:
                        self._shares.pop(owner, None)
                    return
                future, fn, args, kwargs = share.queue.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                value = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - as the base class has it: the caller gets it
                future.set_exception(error)
            else:
                future.set_result(value)
            # Nothing of the call is kept while the thread waits.
            del future, fn, args, kwargs

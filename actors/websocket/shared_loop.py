"""The event loop for the connections of all sync tasks in a worker, on a thread of its own.

It is not the loop of the async tasks, because an async task that blocks that loop would also block the
answers to pings of all sync tasks. Connections of async tasks live on the async tasks' loop.
"""

from __future__ import annotations

import asyncio
import os
import threading

from ..attempt.helper_threads import start_outside
from ..attempt.loop_executor import LoopExecutor

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """The running loop; made at the first call."""
    global _loop  # noqa: PLW0603 - one for each process, as its thread is
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _loop.set_default_executor(LoopExecutor())
            start_outside(threading.Thread(target=_loop.run_forever, name="understudy-ws", daemon=True))
        return _loop


def _become_fork() -> None:
    # The loop's thread exists only in the parent.
    global _loop, _lock  # noqa: PLW0603 - as above
    _loop = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_become_fork)

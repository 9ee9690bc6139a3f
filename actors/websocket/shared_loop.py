"""The event loop on which the connections of all sync tasks of a process live, on a thread of its own.

Not the loop of the async tasks: one of those that blocks it would keep the pings of everybody else from being
answered. Async tasks have their connections on their own loop.
"""

from __future__ import annotations

import asyncio
import os
import threading

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def loop() -> asyncio.AbstractEventLoop:
    """The loop, which runs; made when first asked for."""
    global _loop  # noqa: PLW0603 - one for each process, as its thread is
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="understudy-ws", daemon=True).start()
        return _loop


def _become_fork() -> None:
    # The thread has stayed in the parent.
    global _loop, _lock  # noqa: PLW0603 - as above
    _loop = None
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_become_fork)

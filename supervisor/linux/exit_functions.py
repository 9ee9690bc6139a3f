"""The functions that a process calls at its orderly end: `atexit`, and finalizers of temporary folders.

A fork inherits them from the fork server, and they are not its own: it would delete a folder that others use. So each
process calls those that were registered in it. `multiprocessing` does the same for its processes. Those of Understudy
look after what the process itself has, so each fork calls them, too.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

#: Seconds that they get in a worker and in the fork server.
WORKER_LIMIT: Final = 5.0
FORK_SERVER_LIMIT: Final = 2.0

#: Understudy's own, in the order in which they were registered.
_ours: Final[list[Callable[[], None]]] = []


def at_exit(function: Callable[[], None]) -> None:
    """Register a function of Understudy for the orderly end of this process, and of forks of the fork server."""
    _ours.append(function)
    atexit.register(function)


def disown() -> None:
    """Leave out of this fork's exit functions what it has inherited. Python's and our own are registered again."""
    atexit._clear()
    finalize: Any = weakref.finalize
    for info in list(finalize._registry.values()):
        info.atexit = False
    atexit.register(finalize._exitfunc)
    finalize._registered_with_atexit = True
    atexit.register(logging.shutdown)
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        # Children of the fork server, which `_exit_function` would end and wait for.
        process._children = set()
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:
        atexit.register(util._exit_function)
    # The last one registered is called first: these come before Python's, and after those of the app.
    for function in _ours:
        atexit.register(function)


def run(limit: float, code: int) -> None:
    """Call them. If they take over `limit` seconds, the process ends with this code."""
    try:
        threading.Thread(target=_cut_off, args=(limit, code), daemon=True).start()
    except RuntimeError:
        return  # No thread can be started, and nothing else would end a function that hangs.
    with suppress(BaseException):
        atexit._run_exitfuncs()


def _cut_off(limit: float, code: int) -> None:
    time.sleep(limit)
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(
            f"understudy: warning: exit functions of the app have not returned within {limit:g} s; "
            f"process {os.getpid()} ends without them\n"
        )
        sys.stderr.flush()
    os._exit(code)

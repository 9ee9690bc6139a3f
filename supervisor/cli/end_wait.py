"""`await_end`, the wait of `run` and `result` for a task's end. It shows the task's progress on a terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Final

from ...actors.ids import id_bytes
from ...storage.reader import Reader
from ..client.views import view
from ..text import units
from .display import screen, task_text

if TYPE_CHECKING:
    from ..client.runtime import Runtime

#: Seconds between two looks at the task's progress.
LOOK_EVERY: Final = 0.25


def await_end(runtime: Runtime, reader: Reader, id: str, timeout: float | None = None) -> None:
    """Wait for a task's end. Raises TimeoutError after `timeout` seconds.

    If stderr is a terminal, one line of it shows the state and the progress meanwhile.
    """
    if not sys.stderr.isatty():
        runtime.wait(id, timeout)
        return
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    try:
        while True:
            left = deadline - time.monotonic()
            try:
                runtime.wait(id, max(min(left, LOOK_EVERY), 0.0))
                return
            except TimeoutError:
                if left <= LOOK_EVERY:
                    raise
            screen.status(_line(reader, id))
    finally:
        screen.status("")


def _line(reader: Reader, id: str) -> str:
    record = reader.record(id_bytes(id))
    if record is None:
        return ""
    seen, now = view(record), time.time()
    ran = task_text.run_time(seen, now)
    state = f"{seen.state} {units.duration(now - seen.created if ran is None else ran)}"
    parts = [state, task_text.detail(seen, now)]
    if seen.attempt > 1:
        parts.insert(1, f"try {task_text.tries(seen.attempt, seen.tries)}")
    return ", ".join(part for part in parts if part)

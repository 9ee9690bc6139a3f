"""What tasks and clients of a storm note of what they were told is on disk, and where the storm keeps its files.

The traces are appended to shared files with one write each. That survives the death of the process that wrote, which
is all a storm does; the order of the lines in a file is the order of what they tell.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy import Retry, current

#: A worker that is killed from outside is blamed on the task that works there alone: it has retries enough for that.
AGAIN = Retry(1_000_000, 0)
#: Where the storm keeps its files.
FOLDER = Path(os.environ.get("UNDERSTUDY_STORM_FOLDER", "."))


def trace(kind: str, *row: Any) -> None:
    """One line in the journal of this kind."""
    descriptor = os.open(
        FOLDER / f"{kind}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        os.write(descriptor, json.dumps(row).encode() + b"\n")
    finally:
        os.close(descriptor)


@contextmanager
def on_stage() -> Iterator[None]:
    """Notes that this attempt begins, and that no other one at the same task is under way anywhere."""
    here = current()
    lock = os.open(FOLDER / "locks" / here.id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            trace("wrong", f"task {here.id} runs twice at once", here.attempt, here.interruptions)
        trace("run", here.id, here.attempt, here.interruptions, os.getppid(), os.getpid())
        yield
    finally:
        os.close(lock)

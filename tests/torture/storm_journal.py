"""The journals: tasks and clients of a storm record here what was acknowledged. Also the paths of its files.

Each record is appended to a shared file with one write. That survives the death of the writing process, and a
storm does nothing worse. The lines of a file have the order of their events.
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

#: A worker that is killed from outside is blamed on the task that works there alone. This policy has enough
#: retries for it.
AGAIN = Retry(1_000_000, 0)
#: The paths of the storm's files.
FOLDER = Path(os.environ.get("UNDERSTUDY_STORM_FOLDER", "."))


def trace(kind: str, *row: Any) -> None:
    """Append one line to the journal of this kind."""
    descriptor = os.open(
        FOLDER / f"{kind}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        os.write(descriptor, json.dumps(row).encode() + b"\n")
    finally:
        os.close(descriptor)


@contextmanager
def on_stage() -> Iterator[None]:
    """Records that this attempt begins, and that no other attempt of the same task runs anywhere."""
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


@contextmanager
def in_place(name: str, places: int) -> Iterator[None]:
    """Records that no more than so many attempts hold a place under this name. A dead process holds none."""
    locks = []
    try:
        for number in range(places):
            lock = os.open(
                FOLDER / "locks" / f"{name}.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            locks.append(lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                continue
        else:
            trace("wrong", f"task {current().id} is one too many at {name}, which has places for {places}")
        yield
    finally:
        for lock in locks:
            os.close(lock)

"""Shared by the scenarios: a runtime that serves `letter_tasks`, and functions that kill its processes."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import letter_tasks
from understudy import Runtime
from understudy.storage.check import check
from waiting import until

#: Seconds that any one step in these scenarios may take on a busy machine.
PATIENCE = 30.0
APP = str(Path(letter_tasks.__file__))


def runtime(home: Path, **settings: Any) -> Runtime:
    """A supervisor of its own with two workers."""
    return Runtime(home, app=APP, **{"workers": 2, "durability": "os", **settings})


def workers(rt: Runtime) -> list[dict[str, Any]]:
    """The workers in the tree that have a pid."""
    return [worker for worker in rt.tree()["workers"] if worker["pid"]]


def kill_worker_of(rt: Runtime, id: str) -> bool:
    """SIGKILL the worker that runs this task; False if no worker does."""
    for worker in workers(rt):
        if any(task["id"] == id for task in worker["tasks"]):
            with suppress(ProcessLookupError):
                os.kill(worker["pid"], signal.SIGKILL)
            return True
    return False


def kill_supervisor(rt: Runtime) -> None:
    """SIGKILL the supervisor, and wait until the next call finds another one."""
    old = rt.supervisor_pid
    os.kill(old, signal.SIGKILL)
    until(lambda: rt.supervisor_pid != old, PATIENCE)


def assert_sound(home: Path) -> None:
    """The store of the stopped home has no damage and no contradictions."""
    assert check(home).problems == []


def rows(home: Path) -> dict[str, int]:
    """Rows by table of a stopped home."""
    report = check(home)
    assert report.problems == []
    return {str(table): count for table, count in report.counts.items()}

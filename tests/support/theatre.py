"""Real runtimes for the scenarios, and functions that observe their processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leftovers import left_behind, ours, shared
from puppets import end, program
from understudy import Runtime
from understudy.actors.task.handles import TaskInfo, TaskRecord
from understudy.supervisor.linux.processes import COOKIE, has_ended
from waiting import until

#: Seconds that any quick step may take on a busy machine.
PATIENCE = 20.0


def runtime(home: Path, **settings: Any) -> Runtime:
    """An embedded supervisor with the tasks of `stage_tasks`, for a `with` block."""
    return Runtime(home, **{"app": "stage_tasks", "workers": 1, "drain": 1.0, **settings})


@contextmanager
def for_many_tests(rt: Runtime) -> Iterator[Runtime]:
    """A runtime for the tests of a module, which do not end its supervisor. It is closed at the end.

    A test may get it another worker. What its processes leave behind is looked at when it is closed.
    """
    with shared([rt.supervisor_pid]):
        others = ours()
        with rt:
            yield rt
    lines = left_behind(others)
    assert not lines, "left behind:\n  " + "\n  ".join(lines)


def seen(folder: Path, name: str) -> str:
    """The content of a task's file, when it exists."""
    file = folder / name
    until(file.exists, PATIENCE, lambda: f"{name} among {sorted(path.name for path in folder.iterdir())}")
    return file.read_text()


def running(infos: Iterable[TaskInfo], rt: Runtime) -> list[dict[str, Any]]:
    """The tree's rows of these tasks, when all of them are on workers."""
    ids = {info.id for info in infos}

    def rows() -> list[dict[str, Any]]:
        found = [
            {**row, "pid": worker["pid"], "alone": worker["alone"]}
            for worker in rt.tree()["workers"]
            for row in worker["tasks"]
            if row["id"] in ids
        ]
        return found if len(found) == len(ids) else []

    return until(rows, PATIENCE, lambda: str(rt.tree()))


def parked(infos: list[TaskInfo], rt: Runtime) -> list[dict[str, Any]]:
    """The tree's rows of these tasks, when all of them wait."""

    def rows() -> list[dict[str, Any]]:
        found = running(infos, rt)
        return found if all(row["parked"] for row in found) else []

    return until(rows, PATIENCE)


def ready(rt: Runtime, workers: int) -> list[int]:
    """The pids of the workers, when there are this many."""

    def pids() -> list[int]:
        found = [worker["pid"] for worker in rt.tree()["workers"] if worker["pid"]]
        return found if len(found) == workers else []

    return until(pids, PATIENCE)


def ended(infos: Iterable[TaskInfo], timeout: float = PATIENCE) -> list[TaskRecord]:
    return [info.wait(timeout) for info in infos]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def gone(pids: Iterable[int]) -> None:
    """Wait until all of these processes have ended."""
    left = set(pids)

    def none_left() -> bool:
        left.difference_update([pid for pid in left if has_ended(pid)])
        return not left

    until(none_left, PATIENCE, lambda: f"still there: {left}")


def processes_of(home_cookie: str) -> list[int]:
    """Pids of all processes below the supervisor of a home: fork server, workers, processes started by tasks."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if f"{COOKIE}={home_cookie}".encode() in Path("/proc", entry, "environ").read_bytes().split(
                    b"\0"
                ):
                    found.append(int(entry))
            except OSError:
                continue
    return found


def cookie(rt: Runtime) -> str:
    """The mark of every process of this runtime's home."""
    fork_server = until(lambda: rt.tree()["fork_server"], PATIENCE)
    environ = Path("/proc", str(fork_server), "environ").read_bytes().split(b"\0")
    return next(item for item in environ if item.startswith(COOKIE.encode())).partition(b"=")[2].decode()


#: A supervisor without an embedding program: serves until it is told to stop, then prints how that went.
SERVE = """
import asyncio, json
from understudy.supervisor.app import AppSpec
from understudy.supervisor.home import Home
from understudy.supervisor.daemon.supervisor import Supervisor
from understudy.supervisor.settings import Settings

async def serve(home, app, settings):
    supervisor = Supervisor(Home(home), AppSpec.parse(app), Settings.of(settings))
    await supervisor.run(lambda: print(["ready"], flush=True))

home, app, settings = json.loads(sys.argv[1])
try:
    asyncio.run(serve(home, app, settings))
except Exception as error:
    print([type(error).__name__, str(error), getattr(error, "pid", None)], flush=True)
else:
    print(["stopped"], flush=True)
"""


@contextmanager
def serving(home: Path, app: str = "stage_tasks", **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in its own process; `puppets.said` reads its output. It is killed at the end."""
    arguments = [str(home), app, {"workers": 1, "drain": 10.0, **settings}]
    process = program(SERVE, json.dumps(arguments))
    try:
        yield process
    finally:
        end(process)

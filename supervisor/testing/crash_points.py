"""Named points at which a process can be made to die, for tests of what its death there does.

``UNDERSTUDY_CRASH_AT="commit.before:3"`` has the supervisor kill itself, as SIGKILL would, just before its third
commit; ``commit.after:3`` just after it. ``commit.before:3@/some/path`` does so once only: the process leaves that
file, and one that finds it there lives. Whoever inherits the variable and has the point dies, workers and the fork
server as well.

A point is a function that is replaced, when the variable is set as the process starts, by one that counts its calls.
So there is nothing at these points in the code, and they cost nothing: not even a comparison.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from typing import Any, Final

from ...actors.errors import InvalidOption

#: The environment variable that names a point.
VARIABLE: Final = "UNDERSTUDY_CRASH_AT"


class Process(StrEnum):
    """Who can die. What a fork server forks has its points until it is a worker."""

    SUPERVISOR = "supervisor"
    FORK_SERVER = "fork server"
    WORKER = "worker"


#: By name: the process that dies there, and the function that is the point, as "room.module:name" or
#: "room.module:Class.name".
POINTS: Final[dict[str, tuple[Process, str]]] = {
    # What is in a batch is brought to disk: the transaction.
    "commit": (Process.SUPERVISOR, "storage.environment:Environment.commit"),
    # The loop learns that a batch is on disk, and answers whoever waited for it.
    "acknowledge": (Process.SUPERVISOR, "supervisor.tasks.commit_loop:CommitLoop._committed"),
    # Answers go out to a client.
    "answer": (Process.SUPERVISOR, "supervisor.service.client_link:ClientLink.flush"),
    # Tasks are handed to a worker: tokens and entries, not sent yet.
    "dispatch": (Process.SUPERVISOR, "supervisor.execution.worker_seat:WorkerSeat.hand"),
    # What a worker is to know goes out to it.
    "order": (Process.SUPERVISOR, "supervisor.channel.local:LocalChannel.flush"),
    # Ends of attempts have come in.
    "result": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts._done"),
    # A checkpoint has come in, with what it acknowledges and sends.
    "checkpoint": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts._checkpoint"),
    # What a dead worker had is settled.
    "bury": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts.died"),
    # A new supervisor interrupts what the last one was running.
    "recover": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts.recover"),
    # A worker has been forked, and is the supervisor's from here on.
    "adopt": (Process.SUPERVISOR, "supervisor.forking.spawner:Spawner._take_worker"),
    # The app is imported.
    "load": (Process.FORK_SERVER, "supervisor.forking.fork_server:load_app"),
    # A worker is forked, by way of a process in between.
    "fork": (Process.FORK_SERVER, "supervisor.forking.fork_server:ForkServer._spawn"),
    # The process in between forks the worker and ends.
    "middleman": (Process.FORK_SERVER, "supervisor.forking.fork_server:ForkServer._be_middleman"),
    # What is to be a worker waits until it is the supervisor's child.
    "orphan": (Process.FORK_SERVER, "supervisor.forking.fork_server:_await_adoption"),
    # A worker has been told of tasks.
    "take": (Process.WORKER, "supervisor.worker.worker:Worker._run_these"),
    # A worker has been given messages for a task.
    "deliver": (Process.WORKER, "supervisor.worker.worker:Worker._letters"),
    # An attempt is made an actor, before its code begins.
    "begin": (Process.WORKER, "supervisor.worker.worker:Worker._actor_for"),
    # An attempt has ended, and is about to be reported.
    "end": (Process.WORKER, "supervisor.worker.worker:Worker.ended"),
    # What has gathered goes out to the supervisor: results, checkpoints, acknowledgements.
    "report": (Process.WORKER, "supervisor.worker.report_buffer:ReportBuffer._send"),
}

SIDES: Final = ("before", "after")

#: Points at which the process never comes out again.
ONE_WAY: Final = frozenset({"middleman"})

_WANTED: Final = re.compile(
    r"(?P<point>[a-z]+)\.(?P<side>before|after):(?P<count>[1-9]\d{0,8})(?:@(?P<note>.+))?"
)


def arm(process: Process) -> None:
    """Called once as a process starts. InvalidOption if the variable is set to what is no point."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    match = _WANTED.fullmatch(wanted)
    if (
        match is None
        or match["point"] not in POINTS
        or (match["side"] == "after" and match["point"] in ONE_WAY)
    ):
        raise InvalidOption(
            f'{VARIABLE} must be "POINT.before:COUNT" or "POINT.after:COUNT", with "@FILE" after it to die once only, '
            f"where POINT is one of {', '.join(POINTS)}: {wanted!r:.200}"
        )
    of, target = POINTS[match["point"]]
    if of is process:
        _replace(target, int(match["count"]), match["side"] == "before", match["note"])


def find(target: str) -> tuple[Any, str]:
    """What holds a point's function, and the function's name there; AttributeError if it is not there."""
    module, _, path = target.partition(":")
    owner: Any = import_module(f"{__package__.split('.')[0]}.{module}")
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name


def _replace(target: str, count: int, before: bool, note: str | None) -> None:
    owner, name = find(target)
    function: Callable[..., Any] = getattr(owner, name)
    left = count

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        this_one = left == 0
        if this_one and before:
            _die(note)
        value = function(*args, **kwargs)
        if this_one and not before:
            _die(note)
        return value

    setattr(owner, name, counted)


def _die(note: str | None) -> None:
    if note is not None:
        try:
            os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()

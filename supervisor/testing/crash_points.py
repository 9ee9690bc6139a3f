"""Crash points: named points at which a process can be made to die, for tests of recovery.

``UNDERSTUDY_CRASH_AT="commit.before:3"`` makes the supervisor SIGKILL itself just before its third commit, and
``commit.after:3`` just after it. ``commit.before:3@/some/path`` does so only once: the process first creates that
file, and does not die if the file exists. Every process that inherits the variable and has the point dies, including
workers and the fork server. Several points are separated by commas. A client dies only if its program calls
``arm(Process.CLIENT)``.

If the variable is set at the start of the process, the point's function is replaced by one that counts its calls. So
the code at a point is unchanged and costs nothing otherwise.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module
from typing import Any, Final

from ...actors.errors import InvalidOption

#: The environment variable that names points.
VARIABLE: Final = "UNDERSTUDY_CRASH_AT"


class Process(StrEnum):
    """The processes that can die. A process forked by the fork server has its points until it is a worker."""

    SUPERVISOR = "supervisor"
    FORK_SERVER = "fork server"
    WORKER = "worker"
    CLIENT = "client"


#: By name: the process that dies there, and the point's function as "room.module:name" or
#: "room.module:Class.name".
POINTS: Final[dict[str, tuple[Process, str]]] = {
    # The transaction that writes a batch to disk.
    "commit": (Process.SUPERVISOR, "storage.environment:Environment.commit"),
    # The loop learns that a batch is on disk and sends the answers that waited for it.
    "acknowledge": (Process.SUPERVISOR, "supervisor.tasks.commit_loop:CommitLoop._committed"),
    # Answers are sent to a client.
    "answer": (Process.SUPERVISOR, "supervisor.service.client_link:ClientLink.flush"),
    # Tasks are handed to a worker: tokens and assignments, not sent yet.
    "dispatch": (Process.SUPERVISOR, "supervisor.execution.worker_seat:WorkerSeat.hand"),
    # Orders are sent to a worker.
    "order": (Process.SUPERVISOR, "supervisor.channel.local:LocalChannel.flush"),
    # Ends of attempts are received.
    "result": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts._done"),
    # A checkpoint is received, with the messages that it acknowledges and sends.
    "checkpoint": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts._checkpoint"),
    # The attempts of a dead worker are ended.
    "bury": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts.died"),
    # A new supervisor interrupts the attempts of the last one.
    "recover": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts.recover"),
    # A worker has been forked and becomes the supervisor's.
    "adopt": (Process.SUPERVISOR, "supervisor.forking.spawner:Spawner._take_worker"),
    # The app is imported.
    "load": (Process.FORK_SERVER, "supervisor.forking.fork_server:load_app"),
    # The middleman is forked, which forks the worker.
    "fork": (Process.FORK_SERVER, "supervisor.forking.fork_server:ForkServer._spawn"),
    # The middleman forks the worker and ends.
    "middleman": (Process.FORK_SERVER, "supervisor.forking.fork_server:ForkServer._be_middleman"),
    # The new process waits until it is the supervisor's child.
    "orphan": (Process.FORK_SERVER, "supervisor.forking.fork_server:_await_adoption"),
    # A worker receives tasks.
    "take": (Process.WORKER, "supervisor.worker.actor_host:ActorHost._run_these"),
    # A worker receives messages for a task.
    "deliver": (Process.WORKER, "supervisor.worker.actor_host:ActorHost._messages"),
    # The actor of an attempt is made, before its code begins.
    "begin": (Process.WORKER, "supervisor.worker.actor_host:ActorHost._actor_for"),
    # An attempt has ended; the report is not sent yet.
    "end": (Process.WORKER, "supervisor.worker.actor_host:ActorHost.ended"),
    # Buffered reports are sent to the supervisor: results, checkpoints, acknowledgements.
    "report": (Process.WORKER, "supervisor.worker.report_buffer:ReportBuffer._send"),
    # An ask of a client is taken in.
    "ask": (Process.SUPERVISOR, "supervisor.service.actor_requests:ActorRequests.ask"),
    # Letters that a client tells are taken in.
    "tell": (Process.SUPERVISOR, "supervisor.service.actor_requests:ActorRequests.tell"),
    # The letters of a turn are given to its worker.
    "give": (Process.SUPERVISOR, "supervisor.execution.turns:Turns.prepare"),
    # What a turn has done is received and goes into the open batch.
    "turn": (Process.SUPERVISOR, "supervisor.execution.turns:Turns.commit"),
    # What the answers of actors stand for is on disk; they are given to their clients.
    "reply": (Process.SUPERVISOR, "supervisor.execution.letters:Letters._answer"),
    # Reminders are due, and are put into mailboxes.
    "remind": (Process.SUPERVISOR, "supervisor.execution.letters:Letters._remind"),
    # The occurrences of a schedule become runs and skips.
    "schedule": (Process.SUPERVISOR, "supervisor.tasks.schedule_runs:ScheduleRuns.advance"),
    # An actor was idle for long and is put to rest.
    "rest": (Process.SUPERVISOR, "supervisor.execution.actor_states:ActorStates._put_to_rest"),
    # A worker is told to let go of an actor's object.
    "away": (Process.SUPERVISOR, "supervisor.execution.actor_states:ActorStates._put_away"),
    # An actor has stopped; its end goes into the open batch.
    "stop": (Process.SUPERVISOR, "supervisor.execution.actor_states:ActorStates._end"),
    # The object of an actor is made; it is not initialized, or given its state.
    "build": (Process.WORKER, "actors.attempt.resident:Resident.__init__"),
    # A method, `on_start` or `on_passivate` of an actor has returned; what it did is made part of the turn.
    "settle": (Process.WORKER, "actors.attempt.transactions:Transactions._settle"),
    # `on_stop` of an actor has returned; that is not reported yet.
    "stopped": (Process.WORKER, "actors.attempt.letter_handler:LetterHandler._stopped"),
    # The object of an actor leaves memory.
    "forget": (Process.WORKER, "supervisor.worker.residents:Residents.forget"),
    # Events that were checked go into the open batch, with their runs and messages.
    "emit": (Process.SUPERVISOR, "supervisor.tasks.events:Events._carry_out"),
    # A task begins to listen.
    "listen": (Process.SUPERVISOR, "supervisor.tasks.events:Events.listen"),
    # Items that a task has published are received.
    "publish": (Process.SUPERVISOR, "supervisor.execution.attempts:Attempts._publish"),
    # Tasks are started that are linked to the one that starts them.
    "link": (Process.SUPERVISOR, "supervisor.tasks.links:Links.add"),
    # The end of a task is on disk; some of those that are linked to it are cancelled.
    "unlink": (Process.SUPERVISOR, "supervisor.tasks.links:Links._cancel_some"),
    # A task begins to monitor another one.
    "monitor": (Process.SUPERVISOR, "supervisor.execution.monitors:Monitors.monitor"),
    # A task has ended; the message of a monitor goes into the open batch.
    "down": (Process.SUPERVISOR, "supervisor.execution.monitors:Monitors._tell"),
    # Some tasks of a bulk are cancelled or retried; that, and what became of them, goes into the open batch.
    "bulk": (Process.SUPERVISOR, "supervisor.service.bulk_jobs:BulkJobs._piece"),
    # A step is received, with its value.
    "step": (Process.SUPERVISOR, "supervisor.execution.step_keeper:StepKeeper.keep"),
    # A client asks an actor.
    "call": (Process.CLIENT, "supervisor.client.actor_calls:ActorCalls.ask"),
    # A client tells actors.
    "post": (Process.CLIENT, "supervisor.client.actor_calls:ActorCalls.post"),
    # A client has received an answer that may be asked for again.
    "hear": (Process.CLIENT, "supervisor.client.answer_wait:AnswerWait.answered"),
}

#: Points whose function never returns.
ONE_WAY: Final = frozenset({"middleman"})

#: Seconds that the main thread goes on while another one waits at its point for the death of the process. If the main
#: thread says too early what the other one has yet to do, it does so meanwhile.
GO_ON: Final = 0.02

_WANTED: Final = re.compile(
    r"(?P<point>[a-z]+)\.(?P<side>before|after):(?P<count>[1-9]\d{0,8})(?:@(?P<note>.+))?"
)
#: Between two of them. The path of a file may have commas.
_BETWEEN: Final = re.compile(r",(?=[a-z]+\.(?:before|after):)")


def arm(process: Process) -> None:
    """Called once at the start of a process. Raises InvalidOption if the variable names what is no point."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    for each in _BETWEEN.split(wanted):
        match = _WANTED.fullmatch(each)
        if (
            match is None
            or match["point"] not in POINTS
            or (match["side"] == "after" and match["point"] in ONE_WAY)
        ):
            raise InvalidOption(
                f'{VARIABLE} must be "POINT.before:COUNT" or "POINT.after:COUNT", with "@FILE" after it to die once '
                f"only, where POINT is one of {', '.join(POINTS)}: {each!r:.200}"
            )
        of, target = POINTS[match["point"]]
        if of is process:
            _replace(target, int(match["count"]), match["side"] == "before", match["note"])


def find(target: str) -> tuple[Any, str]:
    """The module or class that holds a point's function, and the function's name.

    AttributeError if it is missing.
    """
    module, _, path = target.partition(":")
    owner: Any = import_module(f"{__package__.split('.')[0]}.{module}")
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name


def observe(targets: Mapping[str, str], hook: Callable[[str], None]) -> None:
    """Have `hook` called with "POINT.before" and "POINT.after" at these points of this process, from now on.

    `targets` are functions by the names of points, as in POINTS.
    """
    for point, target in targets.items():
        owner, name = find(target)
        setattr(owner, name, _observed(getattr(owner, name), point, hook))


def _observed(function: Callable[..., Any], point: str, hook: Callable[[str], None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def observed(*args: Any, **kwargs: Any) -> Any:
        hook(f"{point}.before")
        value = function(*args, **kwargs)
        hook(f"{point}.after")
        return value

    return observed


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
    if threading.current_thread() is not threading.main_thread():
        time.sleep(GO_ON)
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()

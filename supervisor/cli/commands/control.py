"""The commands `send`, `close`, `cancel`, `retry` and `stop`. All of them need a supervisor."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any, Final

import click

from ....actors.errors import NotRunning, SupervisorLost
from ....actors.ids import id_text
from ...home import Home, Server
from ...linux.processes import ends_within
from .. import bulk_of_query, lookup
from ..command import command
from ..display import screen
from ..exit_codes import ExitCode
from ..failures import CliError, code_of, text_of
from ..params import DURATION, JSON, check_where, id_argument, json_option, where_options
from ..session import current

#: Seconds between two looks whether a supervisor of another PID namespace still holds the home.
HOME_LOOK: Final = 0.05


@command(
    "send",
    short_help="Put a message into a task's mailbox.",
    context_settings={"ignore_unknown_options": True},
)
@id_argument()
@click.argument("message", type=JSON, metavar="JSON")
def send(id: str, message: Any) -> None:
    """Put a message into a task's mailbox. "-" reads the message from standard input."""
    with current().reader() as reader, current().runtime() as runtime:
        runtime.send(_id(reader, id), message)


@command("close")
@id_argument()
def close(id: str) -> None:
    """Close a task's mailbox: it accepts no more messages."""
    with current().reader() as reader, current().runtime() as runtime:
        runtime.close_mailbox(_id(reader, id))


@command("cancel", short_help="Cancel tasks.")
@id_argument("ids", metavar="[ID]...", nargs=-1)
@where_options("Cancel all tasks that fit this query and have not ended.")
@json_option("Print a JSON object for each task, one on each line; with --where one for all.")
def cancel(ids: Sequence[str], where: str | None, as_json: bool, **options: Any) -> int:
    """Cancel tasks.

    A queued task is cancelled at once. A running task is asked to stop, and is killed if it has not stopped
    after its grace.

    With a query, the command tells how many tasks there are and asks, and above 100 has their number typed. Without a
    terminal it needs --yes or --expect. The supervisor works through exactly these tasks, also if the command ends; see
    `understudy bulk`.
    """
    check_where(ids, where, **options)
    if where is not None:
        return bulk_of_query.run("cancel", where, **options, as_json=as_json)
    code = ExitCode.OK
    with current().reader() as reader, current().runtime() as runtime:
        for text in ids:
            try:
                id = _id(reader, text)
                taken = runtime.cancel(id)
            except CliError as trouble:
                # The other tasks are cancelled nevertheless.
                screen.note(text_of(trouble))
                code = code_of(trouble)
                continue
            if not taken:
                code = ExitCode.ENDED
            state = runtime.status(id).state
            said = f"had ended already: {state}"
            if taken:
                said = "is cancelled" if state == "cancelled" else "is asked to stop"
            screen.answer(f"{id} {said}", {"id": id, "cancelled": taken, "state": state}, as_json=as_json)
    return code


@command("retry", short_help="Retry ended tasks.")
@id_argument(required=False, metavar="[ID]")
@click.option("--from-scratch", is_flag=True, help="Start without the old task's checkpoint.")
@where_options("Retry all ended tasks that fit this query.")
@json_option("Print the new task's id, name and stream as JSON; with --where the number of tasks.")
def retry(id: str | None, from_scratch: bool, where: str | None, as_json: bool, **options: Any) -> int:
    """Retry an ended task: start a new task from the old one's checkpoint and print its id.

    With a query, the command tells how many tasks there are and asks, and above 100 has their number typed. Without a
    terminal it needs --yes or --expect. Without a term "state:" these are tasks that have failed or timed out. A task
    that another one retries already is left out. The supervisor works through exactly these tasks, also if the command
    ends; see `understudy bulk`.
    """
    check_where(() if id is None else (id,), where, **options)
    if where is not None:
        return bulk_of_query.run("retry", where, **options, from_scratch=from_scratch, as_json=as_json)
    assert id is not None
    with current().reader() as reader, current().runtime() as runtime:
        old = lookup.find(reader, id)
        if not old.terminal:
            raise CliError(
                ExitCode.NOT_ENDED,
                f"task {id_text(old.id)} is {old.state}, and only an ended task can be retried; "
                f"cancel it first: understudy cancel {id_text(old.id)}",
            )
        info = runtime.retry(id_text(old.id), from_scratch=from_scratch)
    document = {"id": info.id, "stream_id": info.stream_id, "task": info.task, "retry_of": id_text(old.id)}
    screen.answer(info.id, document, as_json=as_json)
    return ExitCode.OK


@command("stop")
@click.option("--now", is_flag=True, help="Do not wait for running tasks. They continue at the next start.")
@click.option("--timeout", type=DURATION, help="Limit of the wait for the supervisor's end.")
def stop(now: bool, timeout: float | None) -> None:
    """Stop the supervisor and wait for its end.

    Running tasks get the supervisor's --drain seconds to reach a stopping point. Tasks that have not ended
    then are queued again and continue at the next start.
    """
    home = current().home
    server = home.server()
    if server is None:
        raise NotRunning(f"no supervisor serves {home.path}, so there is nothing to stop")
    end = _pidfd(home, server)
    try:
        _ask_to_stop(end, now)
        if not wait_for_end(home, server, end, timeout):
            raise CliError(
                ExitCode.WAIT_TIMED_OUT,
                f"the supervisor ({server}) has not ended within {timeout:g} s; it is draining. "
                "`understudy stop --now` ends it at once",
            )
    finally:
        if end is not None:
            os.close(end)
    screen.note(f"the supervisor ({server}) has stopped")


def _pidfd(home: Home, server: Server) -> int | None:
    """A descriptor of the supervisor's process; None if it is in another PID namespace, or has ended."""
    if not server.pid or not server.visible:
        return None
    try:
        end = os.pidfd_open(server.pid)
    except OSError:
        return None
    if home.server() == server:
        return end
    # The pid may have been another process's by then.
    os.close(end)
    return None


def _ask_to_stop(supervisor: int | None, now: bool) -> None:
    """Ask on the socket. A supervisor that has closed it gets a signal instead, which ends it at once."""
    try:
        with current().runtime() as runtime:
            runtime.stop_supervisor(now=now)
    except (CliError, NotRunning, SupervisorLost):
        if now and supervisor is not None:
            signal.pidfd_send_signal(supervisor, signal.SIGTERM)


def wait_for_end(home: Home, server: Server, process: int | None, timeout: float | None) -> bool:
    """Wait until this supervisor has ended; False after `timeout` seconds.

    `process` is a pidfd of it. Without one, wait until it does not hold the home any more.
    """
    if process is not None:
        return ends_within(process, timeout)
    deadline = None if timeout is None else time.monotonic() + timeout
    while home.server() == server:
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(HOME_LOOK)
    return True


def _id(reader: Any, text: str) -> str:
    return id_text(lookup.find(reader, text).id)

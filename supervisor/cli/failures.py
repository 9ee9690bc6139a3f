"""`CliError`, and the exit code and error text for any exception."""

from __future__ import annotations

from typing import Final

from ...actors import errors
from ...actors.state import TERMINAL
from ..text import escape
from .exit_codes import ExitCode


class CliError(Exception):
    """The command cannot be carried out. Its message is shown unchanged."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


#: The first class that matches counts, so subclasses come before their bases.
_CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (errors.RemoteError, ExitCode.TASK_FAILED),
    (errors.ActivationFailed, ExitCode.TASK_FAILED),
    (errors.ActorDeadError, ExitCode.ENDED),
    (errors.NotRunning, ExitCode.NOT_RUNNING),
    (errors.SupervisorLost, ExitCode.SUPERVISOR_LOST),
    (errors.TaskFailed, ExitCode.TASK_FAILED),
    (errors.TaskTimedOut, ExitCode.TASK_TIMED_OUT),
    (errors.TaskCancelled, ExitCode.TASK_CANCELLED),
    (errors.TaskNotFound, ExitCode.NOT_FOUND),
    (errors.EventNotFound, ExitCode.NOT_FOUND),
    (errors.TreeNotFound, ExitCode.NOT_FOUND),
    (errors.LimitNotFound, ExitCode.NOT_FOUND),
    (errors.BulkNotFound, ExitCode.NOT_FOUND),
    (errors.ScheduleNotFound, ExitCode.NOT_FOUND),
    (errors.UnknownTask, ExitCode.NOT_FOUND),
    (errors.NotUnique, ExitCode.NOT_UNIQUE),
    (errors.UnknownPool, ExitCode.NOT_FOUND),
    (errors.MailboxClosed, ExitCode.ENDED),
    (errors.MailboxFull, ExitCode.MAILBOX_FULL),
    (errors.InvalidTask, ExitCode.USAGE),
    (errors.InvalidOption, ExitCode.USAGE),
    (errors.InvalidQuery, ExitCode.USAGE),
    (errors.InvalidValue, ExitCode.USAGE),
    (errors.AppFailed, ExitCode.APP_FAILED),
    (errors.HomeInUse, ExitCode.HOME_IN_USE),
    (errors.HomeError, ExitCode.HOME_UNUSABLE),
    (errors.StoreError, ExitCode.STORE_FAILED),
    (TimeoutError, ExitCode.WAIT_TIMED_OUT),
)


#: What shows the things that there are, for errors whose messages do not name a command.
_LISTED_BY: Final[dict[type[BaseException], str]] = {
    errors.EventNotFound: "events list",
    errors.TreeNotFound: "tree",
    errors.ScheduleNotFound: "schedules list",
    errors.LimitNotFound: "limits",
    errors.TaskNotFound: "ps",
}


def code_of(error: BaseException) -> ExitCode:
    """The exit code for an error; FAILED for an error without its own code."""
    if isinstance(error, CliError):
        return error.code
    if isinstance(error, errors.StackUnavailable) and error.state in TERMINAL:
        return ExitCode.ENDED
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.FAILED)


def text_of(error: BaseException) -> str:
    """The text for stderr: one line, preceded by the traceback if the app or a method of an actor failed."""
    if isinstance(error, errors.AppFailed):
        said = error.args[0] if error.args else "the app cannot be loaded"
        return _with_traceback(error.remote_traceback, said)
    if isinstance(error, errors.RemoteError):
        return _with_traceback(error.traceback, error.error)
    if isinstance(error, (CliError, errors.UnderstudyError, TimeoutError)):
        # Understudy wrote this message. If it has several lines, it lists something.
        first, *rest = escape.lines(error) or [type(error).__name__]
        listed_by = _LISTED_BY.get(type(error))
        if listed_by is not None and not rest and "`understudy " not in first:
            first = f"{first.rstrip('.')}; `understudy {listed_by}` shows what there is"
        return "\n".join([f"Error: {first}", *rest])
    if isinstance(error, OSError):
        return f"Error: {escape.one_line(error)}"
    return (
        f"Error: {type(error).__name__}: {escape.one_line(error)}. This is a defect of Understudy; "
        "run it again with --debug and report the traceback"
    )


def _with_traceback(traceback: str, said: object) -> str:
    trace, line = escape.block(traceback), f"Error: {escape.one_line(said)}"
    # What no code of the app has raised has no frames, and its message is in the line.
    return f"{trace}\n{line}" if "\n" in trace else line

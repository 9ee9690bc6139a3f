"""Exit codes of the command line. Scripts and systemd units rely on them, so none ever changes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit codes of `understudy`."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_FOUND = 4
    AMBIGUOUS = 5
    ENDED = 6
    NOT_ENDED = 7
    SUPERVISOR_LOST = 8
    MAILBOX_FULL = 9
    TASK_FAILED = 10
    TASK_TIMED_OUT = 11
    TASK_CANCELLED = 12
    WAIT_TIMED_OUT = 13
    APP_FAILED = 20
    HOME_IN_USE = 21
    HOME_UNUSABLE = 22
    STORE_FAILED = 23
    PROBLEMS_FOUND = 24
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done; of `run` and `result`: the task completed",
    ExitCode.FAILED: "anything that has no code of its own",
    ExitCode.USAGE: "the command was not understood, or an option or value is out of its range",
    ExitCode.NOT_RUNNING: "no supervisor serves the home, or it is stopping",
    ExitCode.NOT_FOUND: "no such task, or the supervisor's app declares no task of that name",
    ExitCode.AMBIGUOUS: "several tasks have ids that start so",
    ExitCode.ENDED: "the task had ended already, so there was nothing to cancel and nobody to take the message",
    ExitCode.NOT_ENDED: "the task has not ended yet",
    ExitCode.SUPERVISOR_LOST: "the supervisor went away meanwhile; whether the command took effect is not known",
    ExitCode.MAILBOX_FULL: "the task's mailbox is at its limit",
    ExitCode.TASK_FAILED: "the task failed",
    ExitCode.TASK_TIMED_OUT: "the task reached its timeout",
    ExitCode.TASK_CANCELLED: "the task was cancelled",
    ExitCode.WAIT_TIMED_OUT: "the task did not end within the time given for waiting; it goes on",
    ExitCode.APP_FAILED: "the app cannot be loaded",
    ExitCode.HOME_IN_USE: "another supervisor serves the home",
    ExitCode.HOME_UNUSABLE: "the home does not exist or cannot be used",
    ExitCode.STORE_FAILED: "the store cannot be read or written",
    ExitCode.PROBLEMS_FOUND: "`check` found problems in the store",
    ExitCode.INTERRUPTED: "ended by Ctrl-C",
    ExitCode.BROKEN_PIPE: "the reader of the output went away, as with `head`",
}


def as_table() -> str:
    """The codes as a Markdown table, which docs/cli.md contains."""
    rows = [f"| {code.value} | {code.name} | {MEANINGS[code]} |" for code in ExitCode]
    return "\n".join(["| code | name | meaning |", "| ---: | --- | --- |", *rows])

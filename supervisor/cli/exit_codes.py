"""Exit codes of the command line. Scripts and systemd units rely on them, so none ever changes."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """The exit codes of `understudy`, with the meaning of each."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    OK = 0, "done; of `run` and `result`: the task completed"
    FAILED = 1, "any other error"
    USAGE = 2, "the command was not understood, or an option or value is out of its range"
    NOT_RUNNING = 3, "no supervisor serves the home, or it is stopping"
    NOT_FOUND = (
        4,
        "no such task, actor, event, schedule, tree, bulk, limit, token or pool, or no task of that name in the app",
    )
    AMBIGUOUS = 5, "the beginning of an id fits several tasks, or a name several actors"
    ENDED = (
        6,
        "the task or actor had already ended, so it cannot be cancelled, takes no messages and has no stack",
    )
    NOT_ENDED = 7, "the task has not ended yet"
    SUPERVISOR_LOST = (
        8,
        "the connection to the supervisor was lost; the command may or may not have taken effect",
    )
    MAILBOX_FULL = 9, "the task's mailbox is at its limit"
    TASK_FAILED = 10, "the task failed, or the method of the actor did"
    TASK_TIMED_OUT = 11, "the task reached its timeout"
    TASK_CANCELLED = 12, "the task was cancelled"
    WAIT_TIMED_OUT = (
        13,
        "the task did not end, or the actor did not answer, within the time limit of the wait; it continues",
    )
    NOT_UNIQUE = 14, "another task has the key of this unique one, which was not started"
    APP_FAILED = 20, "the app cannot be loaded, or its workers die too often"
    HOME_IN_USE = 21, "another supervisor serves the home"
    HOME_UNUSABLE = 22, "the home does not exist or cannot be used"
    STORE_FAILED = 23, "the store cannot be read or written"
    PROBLEMS_FOUND = 24, "`check` found problems in the store"
    TREE_FAILED = 25, "of `serve --exit-with-trees`: a supervision tree has failed"
    INTERRUPTED = 130, "ended by Ctrl-C"
    BROKEN_PIPE = 141, "the reader of the output closed it, as `head` does"


def as_table() -> str:
    """The codes as a Markdown table, which docs/cli.md contains."""
    rows = [f"| {code.value} | {code.name} | {code.meaning} |" for code in ExitCode]
    return "\n".join(["| code | name | meaning |", "| ---: | --- | --- |", *rows])

"""The table `attempts`: earlier attempts of a task, as far as its record does not tell of them.

A row for each run of a task's code that did not end the task: the attempt was retried or interrupted. A task that has
such rows gets another one at its end, because the record of an ended task does not say which worker ran it. A task that
runs once has no row.

The key is the task's id and the number of the run, from 1. A run's number is that of its attempt plus the interruptions
before it. So the rows that are too old have known keys, and the first number says how many are gone.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from ...actors.state import State
from .record import Record
from .schema import mail_key, mail_seq

KEPT: Final = 100
"""Rows of one task. The oldest go first."""

MESSAGE: Final = 2_000
"""Characters of the message of an earlier attempt's error: the first ones."""

TRACEBACK: Final = 8_000
"""Characters of its traceback: the last ones."""

#: The key of a run's row, and the number of the run in it.
run_key, run_number = mail_key, mail_seq

INTERRUPTED: Final = "interrupted"
OUTCOMES: Final = (
    INTERRUPTED,
    *map(str, (State.COMPLETED, State.FAILED, State.TIMED_OUT, State.CANCELLED)),
)
"""How a run can end. The code in a row is the position here."""


class Run(NamedTuple):
    """One run of a task's code."""

    attempt: int
    outcome: str
    """One of OUTCOMES."""
    started: float | None
    ended: float
    pid: int | None
    """Of the worker."""
    error: tuple[str, str, str, dict[str, Any]] | None
    """(type, message, traceback, details). None for the last run: the record has its error."""

    def pack(self) -> bytes:
        """The value of a row."""
        error = self.error
        if error is not None:
            kind, message, traceback, details = error
            error = kind, message[:MESSAGE], traceback[-TRACEBACK:], details
        packed: bytes = msgpack.packb(
            [self.attempt, OUTCOMES.index(self.outcome), self.started, self.ended, self.pid, error],
            unicode_errors="surrogatepass",
        )
        return packed

    @classmethod
    def unpack(cls, row: bytes) -> Run:
        """The run of a row; ValueError for a damaged one."""
        try:
            attempt, outcome, started, ended, pid, error = msgpack.unpackb(
                row, use_list=False, unicode_errors="surrogatepass"
            )
            if (
                type(attempt) is not int
                or type(ended) not in (float, int)
                or (error is not None and len(error) != len(("type", "message", "traceback", "details")))
            ):
                raise ValueError("a field of the wrong type")
            return cls(attempt, OUTCOMES[outcome], started, ended, pid, error)
        except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
            raise ValueError(f"not the row of an attempt: {error}") from error


def number_of(record: Record) -> int:
    """The number of the task's current or last run."""
    return record.attempt + record.interruptions

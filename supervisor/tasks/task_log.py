"""The log of one task on disk. At its limit the oldest lines are removed, and the first line says how many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import msgpack

from ...storage.tables.schema import Table, after_prefix, log_key, log_seq
from .commit_loop import CommitLoop

#: The row that says how much is missing stands before all others.
NOTICE: Final = 0

Line = tuple[float, str, str]
"""(time in seconds since the epoch, level, text)"""


#: The level of the line between two attempts.
ATTEMPT: Final = "attempt"


def attempt_mark(attempt: int, tries: int, interruptions: int) -> tuple[str, str]:
    """(level, text) of the line above the lines of an attempt. A task may ask for more attempts than its `tries`."""
    of = f" of {tries}" if attempt <= tries else ""
    times = (
        ""
        if not interruptions
        else f", interrupted {'once' if interruptions == 1 else f'{interruptions} times'}"
    )
    return ATTEMPT, f"--- attempt {attempt}{of}{times} ---"


class TaskLog:
    """Appends to a task's log."""

    def __init__(self, commits: CommitLoop, id: bytes, limit: int, *, stored: bool) -> None:
        """`stored` says whether the disk may hold earlier lines."""
        self._commits = commits
        self._id = id
        self._limit = limit
        self._first = self._next = NOTICE + 1
        self._bytes = 0
        self._dropped = 0
        if stored:
            self._read()

    def append(self, lines: Sequence[Line]) -> int:
        """Add lines, which are on disk with the next commit; the number of their chunk."""
        row: bytes = msgpack.packb(lines)
        self._commits.put(Table.LOGS, log_key(self._id, self._next), row)
        self._next += 1
        self._bytes += len(row)
        if self._bytes > self._limit:
            self._drop_oldest()
        return self._next - 1

    def _drop_oldest(self) -> None:
        while self._bytes > self._limit and self._first < self._next - 1:
            key = log_key(self._id, self._first)
            row = self._commits.get(Table.LOGS, key) or b""
            self._commits.delete(Table.LOGS, key)
            self._bytes -= len(row)
            self._dropped += len(_lines(row))
            self._first += 1
        notice = f"{self._dropped:,} earlier lines were dropped: a task's log keeps {self._limit:,} bytes"
        self._commits.put(
            Table.LOGS,
            log_key(self._id, NOTICE),
            msgpack.packb([(self._commits.clock.time(), "notice", notice)]),
        )

    def _read(self) -> None:
        rows = self._commits.scan(Table.LOGS, self._id, after_prefix(self._id))
        if rows and log_seq(rows[0][0]) == NOTICE:
            # A damaged one costs the count, and must not cost the task.
            with suppress(ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException):
                (notice,) = _lines(rows.pop(0)[1])
                self._dropped = int(notice[2].split()[0].replace(",", ""))
        if rows:
            self._first, self._next = log_seq(rows[0][0]), log_seq(rows[-1][0]) + 1
            self._bytes = sum(len(row) for _, row in rows)


def _lines(row: bytes) -> list[Any]:
    lines: list[Any] = msgpack.unpackb(row) if row else []
    return lines

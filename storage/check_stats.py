"""The checks of earlier attempts, of failures and of steps: they say what the records and each other say.

Failures are compared as sums of hashes, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from .tables.attempt_rows import KEPT, Run, number_of, run_number
from .tables.failure_rows import Part, has_failed, keys_of, share_of
from .tables.record import Record
from .tables.step_rows import (
    ENDS,
    MARKS,
    NO_MARKS,
    PERIODS,
    REMOVED,
    Step,
    floor,
    name_hash,
    step_in,
    unpack_marks,
)

Rows = Iterable[tuple[bytes, bytes]]

ENDS_AND_RETRIES: Final = (*ENDS, "retried")

_PARTS: Final = {
    Part.CAUSE: "by cause",
    Part.TASK: "by task",
    Part.HOUR: "by hour",
    Part.TEN_SECONDS: "by ten seconds",
}


def run_problem(key: bytes, value: bytes, owner: Record | None) -> str | None:
    """What is wrong with the row of an earlier attempt of the task with this record."""
    try:
        run = Run.unpack(value)
    except ValueError as error:
        return str(error)
    if owner is None:
        return None
    number, last = run_number(key), number_of(owner)
    if not last - KEPT <= number <= last or run.attempt > owner.attempt or last == 1:
        return f"it is of run {number} (attempt {run.attempt}), and the task is in run {last}"
    return None


class FailureCheck:
    """Give it all records, then ask for the problems."""

    def __init__(self) -> None:
        #: Records that do not say when their task has failed, or cannot be read.
        self.damaged = 0
        self._expected: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, record: Record) -> None:
        """A task's record."""
        if has_failed(record):
            for key in keys_of(record):
                _note(self._expected, key, 1)

    def problems(self, rows: Rows) -> Iterator[str]:
        """One line for each difference."""
        found: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
        for key, value in rows:
            try:
                _note(found, key, share_of(key, value))
            except ValueError as error:
                yield f"row {key.hex()} of the failures: {error}"
        if self.damaged:
            return
        for part, text in _PARTS.items():
            if found[part] != self._expected[part]:
                yield (
                    f"the failures {text} are those of {found[part][0]} tasks, and the records have "
                    f"{self._expected[part][0]}"
                    + (", but not the same ones" if found[part][0] == self._expected[part][0] else "")
                )


def _note(sums: defaultdict[int, list[int]], key: bytes, number: int) -> None:
    entry = sums[key[0]]
    entry[0] += number
    entry[1] += number * hash(key)


def step_problems(rows: Rows, marks_row: bytes | None) -> Iterator[str]:
    """What is wrong with the table `stats`, whose rows come by key, the shortest steps first."""
    marks = unpack_marks(marks_row)
    if marks_row is not None and (marks == NO_MARKS or list(marks[1:]) != sorted(marks[1:], reverse=True)):
        yield "the marks of the steps are damaged"
    # By the level of the longer steps: from where on they are sums of shorter ones that are all kept.
    since: dict[int, int] = {}
    sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    expected: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for key, value in rows:
        if key == MARKS:
            continue
        try:
            level, start, name = (REMOVED, 0, key[-8:]) if key[:1] == bytes((REMOVED,)) else step_in(key)
            step = Step.unpack(value)
        except ValueError as error:
            yield f"row {key.hex()} of the steps: {error}"
            continue
        if name_hash(step.name) != name:
            yield f"row {key.hex()} of the steps has the name {step.name!r}"
        if level in since and since[level] <= start < marks[level]:
            _note_step(sums[level], start, name, step)
        longer = level + 1
        if longer < len(PERIODS) and start < marks[longer]:
            # Of the oldest of the longer steps some of the shorter ones may have been removed already.
            since.setdefault(longer, floor(start + PERIODS[longer] - 1, longer))
            if (begin := floor(start, longer)) >= since[longer]:
                _note_step(expected[longer], begin, name, step)
    for level in sorted(since):
        if sums[level] != expected[level]:
            yield (
                f"the steps of {PERIODS[level]:,} s have {sums[level][0]} ends, and the shorter ones add up to "
                f"{expected[level][0]}"
                + (", but not the same ones" if sums[level][0] == expected[level][0] else "")
            )


def _note_step(entry: list[int], start: int, name: bytes, step: Step) -> None:
    entry[0] += sum(step.ended)
    for number, what in zip(step.ended, ENDS_AND_RETRIES, strict=True):
        entry[1] += number * hash((start, name, what))
    for what, counted in (("wait", step.waits), ("run", step.runs)):
        for bucket, number in counted.items():
            entry[1] += number * hash((start, name, what, bucket))

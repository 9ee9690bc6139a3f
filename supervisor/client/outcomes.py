"""What has become of tasks, read from the store: earlier attempts, failures by their cause, and rates and times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ...actors.checks import check_seconds, check_whole
from ...actors.errors import InvalidOption
from ...actors.ids import id_text
from ...actors.state import State
from ...actors.task.declaration import Task
from ...actors.task.outcomes import ErrorGroup, ErrorGroups, TaskAttempt, TaskAttempts, TaskStats, Times
from ...storage.query import Value
from ...storage.reader import Reader
from ...storage.stats_reader import Group, Groups
from ...storage.tables.attempt_rows import Run, number_of
from ...storage.tables.histogram import quantiles
from ...storage.tables.record import Record
from ...storage.tables.step_rows import ENDS, KEPT, RETRIED, Step
from ..wire.error_codec import info_of

LONGEST: Final = float(KEPT[-1])
"""The longest window, in seconds: 400 days."""

MAX_GROUPS: Final = 10_000
"""The most groups of one answer."""

#: The parts of `Times`.
_PARTS: Final = (0.5, 0.9, 0.99)


def attempts(reader: Reader, record: Record) -> TaskAttempts:
    """The runs of the task with this record."""
    rows = reader.runs(record.id)
    runs = [_attempt(run, record if number == number_of(record) else None) for number, run in rows]
    last = number_of(record)
    kept = rows[0][0] if rows else last
    if record.started is not None and record.state is not State.QUEUED and (not rows or rows[-1][0] < last):
        # It runs, or it has run only once.
        runs.append(
            TaskAttempt(
                record.attempt,
                str(record.state),
                record.started,
                record.ended,
                record.pid,
                info_of(record.error) if record.ended is not None else None,
            )
        )
    return TaskAttempts(tuple(runs), kept - 1)


def _attempt(run: Run, last_of: Record | None) -> TaskAttempt:
    error = run.error if last_of is None else last_of.error
    return TaskAttempt(run.attempt, run.outcome, run.started, run.ended, run.pid, info_of(error))


Sees = Callable[[str], bool]
"""Whether tasks of a name may be counted."""


def errors(
    reader: Reader,
    window: float,
    task: Any,
    limit: int,
    now: float | None = None,
    sees: Sees | None = None,
) -> ErrorGroups:
    """The causes of the failures of the last `window` seconds."""
    seconds, fits = _window(window), _both(names(task), sees)
    check_whole("limit", limit, 1, MAX_GROUPS)
    since = (time.time() if now is None else now) - seconds
    return error_groups(reader.failures(since, fits=fits, limit=limit), since)


def error_groups(found: Groups, since: float) -> ErrorGroups:
    """What was found from `since` on."""
    return ErrorGroups(
        tuple(_error_group(group) for group in found.groups),
        found.total,
        found.stopped is not None,
        since // 10 * 10 if found.stopped is None else found.stopped,
    )


def _error_group(group: Group) -> ErrorGroup:
    return ErrorGroup(
        group.fingerprint.hex(),
        *group.cause,
        count=group.count,
        first=group.first,
        last=group.last,
        tasks=tuple(map(id_text, group.tasks)),
    )


def stats(
    reader: Reader, window: float, task: Any, now: float | None = None, sees: Sees | None = None
) -> TaskStats:
    """What has ended in the last `window` seconds."""
    seconds, fits = _window(window), _both(names(task), sees)
    now = time.time() if now is None else now
    exact = task.name if isinstance(task, Task) else task if _is_whole(task) else None
    since, steps = reader.ended(now - seconds, now, name=exact, fits=fits)
    length = max(now - since, 1.0)
    total = Step("")
    for step in steps.values():
        total.add(step)
    each = {name: _stats(step, since, length) for name, step in sorted(steps.items())}
    return _stats(total, since, length, each)


def _stats(
    step: Step, since: float, seconds: float, tasks: Mapping[str, TaskStats] | None = None
) -> TaskStats:
    ended = {state: number for state, number in zip(ENDS, step.ended, strict=False) if number}
    return TaskStats(
        since,
        seconds,
        ended,
        step.ended[RETRIED],
        sum(ended.values()) / seconds,
        _times(step.waits),
        _times(step.runs),
        tasks or {},
    )


def _times(counted: Mapping[int, int]) -> Times:
    return Times(sum(counted.values()), *quantiles(counted, _PARTS))


def _window(window: Any) -> float:
    seconds: float = check_seconds("window", window, positive=True)
    if seconds > LONGEST:
        raise InvalidOption(f"window must be at most {LONGEST:,.0f} seconds (400 days), not {seconds:g}")
    return seconds


def _is_whole(task: Any) -> bool:
    return isinstance(task, str) and ":" in task and not Value(task, 1).is_pattern


def _both(fits: Callable[[str], bool], sees: Sees | None) -> Callable[[str], bool]:
    return fits if sees is None else lambda name: fits(name) and sees(name)


def names(task: Any) -> Callable[[str], bool]:
    """Whether a name is that of this task, of one of these, or fits a pattern such as "etl*"; without one, always."""
    if task is None:
        return lambda _: True
    if isinstance(task, Task):
        return task.name.__eq__
    if isinstance(task, str):
        task = [task]
    if not isinstance(task, Sequence) or not all(isinstance(each, str | Task) for each in task):
        raise InvalidOption(f"task is a task, its name or a pattern such as 'etl*', not {task!r:.80}")
    wanted = [Value(each.name, 1, quoted=True) if isinstance(each, Task) else Value(each, 1) for each in task]

    def fits(name: str) -> bool:
        short = name.rpartition(":")[2]
        return any(one.fits(name) or one.fits(short) for one in wanted)

    return fits

"""`ScheduleInfo`, a snapshot of a schedule, and `Occurrence`, an entry of its history."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final, Literal

from ..errors import ScheduleNotFound
from ..qualified_names import suggestion
from .definition import Definition

#: Keys among which one like a missing key is looked for.
NEAR: Final = 1_000


def no_schedule(key: str, known: Iterable[str]) -> ScheduleNotFound:
    """The error for a key that no schedule has; it suggests one of these."""
    hint = suggestion(key, islice(known, NEAR)) or " It may have been pruned: see `understudy schedules list`"
    return ScheduleNotFound(f"no schedule has the key {key!r:.200}.{hint}", key)


ScheduleState = Literal["active", "paused", "orphaned", "ended"]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time at which a schedule was due: a run, or a skip with its reason."""

    schedule: str
    scheduled_at: float
    """The time at which it was due, in seconds since the epoch."""
    time: float
    """When it was dealt with."""
    run_id: str | None
    """Id of its run; None if it was skipped."""
    skipped: str | None
    """Why it was skipped; None if there is a run."""
    by: str | None = None
    """"run" or "backfill" for one that was asked for, else None."""
    number: int = 0
    """Its number in the history."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule as it is on disk."""

    key: str
    task: str
    definition: Definition
    state: ScheduleState
    declared: bool
    """Whether the code declares it, by `@cron` or `@every`."""
    next: float | None
    """The next occurrence, in seconds since the epoch; None for a schedule that is not active."""
    last: float | None
    """The last occurrence that was dealt with."""
    runs: int
    """How many runs it has started."""
    skips: int
    """How many occurrences were skipped."""
    failures: int
    """Failed runs in a row."""
    created: float
    reason: str | None = None
    """Why it is paused or has ended."""
    active: tuple[str, ...] = ()
    """Ids of its runs that have not ended, unless they may overlap."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return asdict(self)

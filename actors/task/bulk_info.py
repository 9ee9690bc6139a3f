"""`BulkInfo`: a cancel or retry of many tasks, which the supervisor works through."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

BulkAction = Literal["cancel", "retry"]


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """What became of one task of a bulk."""

    id: str
    outcome: str
    """"cancelled", "asked to stop", "had ended", "gone" (pruned meanwhile), "retried", "retried before", "refused", or
    "waits": it was not its turn yet."""
    new_id: str | None = None
    """The task that retries it."""


@dataclass(frozen=True, slots=True)
class BulkInfo:
    """A cancel or retry of the tasks that matched a query at one moment."""

    id: str
    action: BulkAction
    query: str
    """What was searched for; empty if the tasks were given one by one."""
    by: str
    """Who asked for it."""
    state: Literal["running", "completed", "cancelled", "failed"]
    """"cancelled": it was told to touch no further task. "failed": it could not go on; see `problem`."""
    total: int
    done: int
    """Tasks that have been dealt with."""
    outcomes: dict[str, int]
    """Their number by outcome; see `BulkOutcome`. Zeros are left out."""
    created: float
    """Seconds since the epoch."""
    ended: float | None
    problem: str
    """Why the last task that was refused was, or why the bulk has failed; else empty."""

    @property
    def changed(self) -> int:
        """How many tasks it has cancelled, asked to stop or retried."""
        return sum(self.outcomes.get(each, 0) for each in ("cancelled", "asked to stop", "retried"))

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

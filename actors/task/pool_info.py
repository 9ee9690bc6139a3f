"""`PoolInfo`: what the workers of a pool do just now."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool of workers, or the workers of all tasks without a pool."""

    name: str | None
    """None for the workers of all tasks without a pool."""
    workers: int
    """Workers that it is to have, beside those for one task."""
    processes: int
    """Worker processes that are there, with those for one task."""
    slots: int
    """Sync tasks that may be at work at once in its workers."""
    used: int
    """Slots in which a task is at work. One that waits in `receive` or `sleep` takes none."""
    tasks: int
    """Tasks and actors on its workers, async ones and those that wait as well."""
    queued: int
    """Ready tasks and actors that wait for one of its workers; of those on disk at most 100,000 are counted."""

    def __str__(self) -> str:
        name = "no pool" if self.name is None else self.name
        return f"{name} ({self.used:,} of {self.slots:,} slots used, {self.queued:,} queued)"

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

"""The lanes of pools: each pool of workers has the same lanes, one for each kind of room that its workers have.

The lanes for tasks without a pool are those of `Lane`, and their rows lie there. A lane of a pool is a `PoolLane`, and
its rows lie side by side in the lane POOL.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...storage.tables.schema import READY, Lane, lane_rows, pool_sort, ready_sort

#: The lanes whose tasks cannot begin under this supervisor: their code is absent, or their pool.
ABSENT: Final = frozenset((Lane.CODE, Lane.NO_POOL))


@dataclass(frozen=True, slots=True, eq=False)
class PoolLane:
    """A lane of one pool. There is one object for each; `lane_in` gives it."""

    pool: str
    lane: Lane
    sort: int
    """The sort of its first row in the lane POOL."""

    def place(self, priority: int) -> tuple[int, int]:
        """Lane and sort of a row of a task with this priority."""
        return Lane.POOL, self.sort + ready_sort(priority)


AnyLane = Lane | PoolLane
"""Where a ready task waits."""


@functools.cache
def lane_in(pool: str | None, lane: Lane) -> AnyLane:
    """The lane of a pool for tasks that would stand in this one without a pool. `pool` is None for no pool."""
    return lane if pool is None else PoolLane(pool, lane, pool_sort(pool, lane))


@functools.cache
def lanes_of(pool: str | None) -> Mapping[Lane, AnyLane]:
    """All lanes of a pool whose tasks may begin."""
    return {lane: lane_in(pool, lane) for lane in READY}


def pool_of(lane: AnyLane) -> str | None:
    """The pool of a lane."""
    return lane.pool if isinstance(lane, PoolLane) else None


def rows_of(lane: AnyLane) -> tuple[bytes, bytes]:
    """Where the rows of a lane begin and end."""
    if isinstance(lane, PoolLane):
        return lane_rows(lane.lane, lane.pool)
    return lane_rows(lane)


def rows_between(lanes: list[PoolLane]) -> list[tuple[bytes, bytes]]:
    """The parts of the lane POOL that belong to none of these lanes: where they begin and end."""
    start = bytes((Lane.POOL,))
    parts: list[tuple[bytes, bytes]] = []
    for first, end in sorted(map(rows_of, lanes)):
        parts.append((start, first))
        start = end
    return [*parts, (start, bytes((Lane.POOL + 1,)))]

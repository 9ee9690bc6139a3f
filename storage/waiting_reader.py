"""WaitingReader: the part of `Reader` that counts the tasks that wait at limits and for workers of pools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from typing import Final

from .live_rows import keys_in
from .shared_view import Snapshot
from .snapshot_reader import SnapshotReader
from .tables.schema import READY, Lane, Table, lane_rows

#: Tasks that are counted of one pool.
COUNTED: Final = 100_000


class WaitingReader(SnapshotReader):
    """Counts of tasks that wait, each from one snapshot."""

    def waiting_at_limits(self) -> Counter[int]:
        """How many tasks stand at the limits, by their `gate_sort`."""
        with self._read() as snapshot:
            sorts = Counter(key[1:8] for key in keys_in(snapshot, Lane.GATE))
        return Counter({int.from_bytes(sort, "big") << 8: count for sort, count in sorts.items()})

    def waiting_in_pools(self, pools: Iterable[str | None], most: int = COUNTED) -> dict[str | None, int]:
        """How many tasks stand in the lanes of these pools, at most `most` of each. None: those without a pool."""
        with self._read() as snapshot:
            return {pool: _waiting_in(snapshot, pool, most) for pool in pools}


def _waiting_in(snapshot: Snapshot, pool: str | None, most: int) -> int:
    lanes = (snapshot.rows(Table.LIVE, *lane_rows(lane, pool)) for lane in READY)
    return sum(1 for _ in islice(chain.from_iterable(lanes), most))

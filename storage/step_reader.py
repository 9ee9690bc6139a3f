"""StepReader: the part of `Reader` that reads the steps of tasks."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..actors.errors import StoreCorrupt
from ..actors.step_label import Known, unpack_label
from .snapshot_reader import SnapshotReader
from .tables.schema import ID_BYTES, Table
from .tables.task_step_rows import StepRow, label_in, steps_of, unpack_step


class StoredStep(NamedTuple):
    """A step on disk."""

    known: Known
    row: StepRow
    #: Of an actor, the id of the message to which it belongs.
    letter: bytes | None


class StepReader(SnapshotReader):
    """Reads of steps. Each answer comes from one snapshot; a damaged row raises StoreCorrupt, which names it."""

    def steps(self, id: bytes, limit: int | None, *, of_actor: bool) -> list[StoredStep]:
        """The steps that a task keeps, the `limit` newest ones, oldest first."""
        with self._read() as snapshot:
            # Read one by one: together they may be large.
            rows = snapshot.rows(Table.ACTORS, *steps_of(id))
            found = ((step.row.time, place, step) for place, step in enumerate(_stored(rows, of_actor)))
            newest = sorted(found) if limit is None else heapq.nlargest(limit, found)[::-1]
            return [step for _, _, step in newest]


def _stored(rows: Iterable[tuple[bytes, bytes]], of_actor: bool) -> Iterator[StoredStep]:
    for key, row in rows:
        label = label_in(key)
        letter = None
        if of_actor:
            letter, label = label[:ID_BYTES], label[ID_BYTES:]
        try:
            yield StoredStep(unpack_label(label), unpack_step(row), letter)
        except ValueError as error:
            raise StoreCorrupt(
                f"the row {key.hex()} of the table actors is damaged: {error}; run `understudy check`"
            ) from error

"""BulkReader: the part of `Reader` that reads bulks."""

from __future__ import annotations

from ..actors.errors import StoreCorrupt
from .snapshot_reader import SnapshotReader
from .tables.bulk_rows import (
    PART,
    Bulk,
    all_heads,
    ends_key,
    head_key,
    tasks_key,
    unpack_ends,
    unpack_head,
    unpack_tasks,
)
from .tables.schema import Table


class BulkReader(SnapshotReader):
    """Reads of bulks. A damaged row raises StoreCorrupt."""

    def bulk(self, id: bytes) -> Bulk | None:
        """The head of a bulk that has begun; None if there is none."""
        key = head_key(id)
        with self._read() as snapshot:
            row = snapshot.get(Table.META, key)
        found = None if row is None else _head(key, row)
        return None if found is None or found.state == "open" else found

    def bulks(self, limit: int, before: bytes | None = None) -> list[Bulk]:
        """Bulks that have begun, the newest first: those that were made before this one, at most `limit`."""
        start, stop = all_heads()
        found: list[Bulk] = []
        with self._read() as snapshot:
            for key, row in snapshot.rows(
                Table.META, start, stop if before is None else head_key(before), reverse=True
            ):
                if len(found) >= limit:
                    break
                bulk = _head(key, row)
                if bulk.state != "open":
                    found.append(bulk)
        return found

    def bulk_tasks(self, id: bytes, after: int, limit: int) -> list[tuple[bytes, str, bytes | None]]:
        """(task, what became of it, the task that retries it) of a bulk, in their order, from the number `after` on."""
        found: list[tuple[bytes, str, bytes | None]] = []
        with self._read() as snapshot:
            part = after // PART
            while len(found) < limit + after % PART:
                row = snapshot.get(Table.META, tasks_key(id, part))
                if row is None:
                    break
                ends = snapshot.get(Table.META, ends_key(id, part))
                try:
                    tasks = unpack_tasks(row)
                    became = [] if ends is None else unpack_ends(ends)
                    became += [("waits", None)] * (len(tasks) - len(became))
                    found += [(task, *end) for task, end in zip(tasks, became, strict=True)]
                except ValueError as error:
                    raise StoreCorrupt(
                        "a bulk is damaged; run `understudy check`", problems=[str(error)]
                    ) from error
                part += 1
        return found[after % PART :][:limit]


def _head(key: bytes, row: bytes) -> Bulk:
    try:
        return unpack_head(key, row)
    except ValueError as error:
        raise StoreCorrupt("a bulk is damaged; run `understudy check`", problems=[str(error)]) from error

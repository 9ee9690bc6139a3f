"""Forgetting ended tasks once their time is over, a few at a time.

A task that ends gets into a row of `expiry` in the same batch, with others that ended then and are kept as long; the
rows sort by time, so what is due is found without looking at what is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from .record import Record
from .schema import ID_BYTES, Table, after_prefix, expiry_ids, expiry_key, idempotency_key

MAX_ROWS: Final = 20_000
"""Rows that one call deletes before it leaves the rest to the next, so that no batch grows out of proportion."""

IDS_IN_ROW: Final = 100
"""Tasks that one row of `expiry` holds."""

_BY_ID: Final = (Table.TASKS, Table.ARGS, Table.RESULTS, Table.CHECKPOINTS)
_BY_ID_AND_SEQ: Final = (Table.MAIL, Table.LOGS)


class Rows(Protocol):
    """What pruning needs of a store."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None: ...

    def pending_puts(self, table: Table) -> list[bytes]: ...

    def scan(
        self, table: Table, start: bytes = ..., stop: bytes | None = ..., limit: int | None = ...
    ) -> list[tuple[bytes, bytes]]: ...


def expiry_rows(at: float, ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """The rows of `expiry` that have these ended tasks forgotten from `at` on (seconds since the epoch)."""
    return {
        expiry_key(at, ids[start]): b"".join(ids[start + 1 : start + IDS_IN_ROW])
        for start in range(0, len(ids), IDS_IN_ROW)
    }


def prune(store: Rows, now: float, limit: int = 500) -> int:
    """Delete everything of at most `limit` tasks that are due by `now` (seconds since the epoch).

    Returns how many. The deletes are in the store's open batch; what an earlier call deleted and is not on disk yet
    is not counted again, so call it again after the commit until it returns 0.
    """
    due: list[tuple[bytes, list[bytes]]] = []
    found = 0
    for key, _ in store.scan(Table.EXPIRY, stop=expiry_key(now + 0.001, b""), limit=limit):
        value = store.get(Table.EXPIRY, key)
        if value is not None:
            due.append((key, expiry_ids(key, value)))
            found += len(due[-1][1])
            if found >= limit:
                break
    if not due:
        return 0
    pending = _pending(store, {id for _, ids in due for id in ids})
    pruned = deleted = 0
    for key, ids in due:
        left = list(reversed(ids))
        while left and deleted < MAX_ROWS and pruned < limit:
            id = left.pop()
            row = store.get(Table.TASKS, id)
            record = None if row is None else _readable(id, row)
            if record is not None and not record.terminal:
                continue  # a row that should not be there must not cost a task that has not ended
            deleted += _forget(store, id, record, pending)
            pruned += 1
        if len(left) == len(ids):
            break
        store.delete(Table.EXPIRY, key)
        if left:
            # What is left of the row is for the next call.
            store.put(Table.EXPIRY, key[:-ID_BYTES] + left.pop(), b"".join(reversed(left)))
    return pruned


def forget(store: Rows, record: Record) -> None:
    """Delete everything of this task but its live row and its expiry row, which only their owners can name."""
    _forget(store, record.id, record, _pending(store, {record.id}))


def _forget(store: Rows, id: bytes, record: Record | None, pending: Iterable[tuple[Table, bytes]]) -> int:
    for table in _BY_ID:
        store.delete(table, id)
    deleted = len(_BY_ID)
    for table in _BY_ID_AND_SEQ:
        for key, _ in store.scan(table, id, after_prefix(id)):
            store.delete(table, key)
            deleted += 1
    for table, key in pending:
        if key.startswith(id):
            store.delete(table, key)
    if record is not None and record.key is not None:
        key = idempotency_key(record.key)
        if store.get(Table.KEYS, key) == id:  # the key may belong to a later task by now
            store.delete(Table.KEYS, key)
    return deleted


def _pending(store: Rows, ids: set[bytes]) -> list[tuple[Table, bytes]]:
    """Messages and log lines of these tasks that a scan may not see yet: the last words of one that just ended."""
    return [
        (table, key) for table in _BY_ID_AND_SEQ for key in store.pending_puts(table) if key[:ID_BYTES] in ids
    ]


def _readable(id: bytes, row: bytes) -> Record | None:
    try:
        return Record.unpack(id, row)
    except ValueError:
        return None  # damaged, and to be deleted anyway

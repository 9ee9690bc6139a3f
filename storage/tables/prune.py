"""Pruning: the deletion of ended tasks when their time to keep is over, some at a time.

The batch with a task's final state also adds the task to a row of `expiry`, together with other tasks that
end then and are kept as long. The rows are sorted by time, so due tasks are found without reading others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from ...actors.errors import InvalidOption
from .record import Record
from .schema import ID_BYTES, Table, after_prefix, expiry_ids, expiry_key, idempotency_key

MAX_ROWS: Final = 20_000
"""Deleted rows after which a call stops and leaves the rest to the next call, which limits a batch's size."""

IDS_IN_ROW: Final = 100
"""Tasks that one row of `expiry` holds."""

_AT_BYTES: Final = 8  # the time at the beginning of a key of `expiry`

_BY_ID: Final = (Table.TASKS, Table.ARGS, Table.RESULTS, Table.CHECKPOINTS)
_BY_ID_AND_SEQ: Final = (Table.MAIL, Table.LOGS)


class Rows(Protocol):
    """The part of a store that pruning uses."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None: ...

    def pending_puts(self, table: Table) -> list[bytes]: ...

    def scan(
        self, table: Table, start: bytes = ..., stop: bytes | None = ..., limit: int | None = ...
    ) -> list[tuple[bytes, bytes]]: ...


def expiry_rows(at: float, ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """The rows of `expiry` that let these ended tasks be pruned from `at` on (seconds since the epoch)."""
    return {
        expiry_key(at, ids[start]): b"".join(ids[start + 1 : start + IDS_IN_ROW])
        for start in range(0, len(ids), IDS_IN_ROW)
    }


def prune(store: Rows, now: float, limit: int = 500) -> int:
    """Delete all rows of at most `limit` tasks that are due by `now` (seconds since the epoch).

    Returns the number of tasks. The deletes go into the store's open batch. Uncommitted deletes of an earlier
    call are not counted again. So call it again after each commit until it returns 0.
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
        # A damaged row may hold what is no id. The rows of other tasks may begin with it.
        left = [id for id in reversed(ids) if len(id) == ID_BYTES]
        while left and deleted < MAX_ROWS and pruned < limit:
            id = left.pop()
            row = store.get(Table.TASKS, id)
            record = None if row is None else _readable(id, row)
            if record is not None and not record.terminal:
                continue  # a wrong expiry row must not delete a task that has not ended
            deleted += _forget(store, id, record, pending)
            pruned += 1
        if left and len(left) == len(ids):
            break
        store.delete(Table.EXPIRY, key)
        if left:
            # The next call prunes the other tasks of this row.
            store.put(Table.EXPIRY, key[:_AT_BYTES] + left.pop(), b"".join(reversed(left)))
    return pruned


def forget(store: Rows, record: Record) -> None:
    """Delete all rows of this task, except its live and expiry rows, whose keys only their owners know."""
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
    own_key = None if record is None else _key_of(record)
    if own_key is not None and store.get(Table.KEYS, own_key) == id:  # it may belong to a later task now
        store.delete(Table.KEYS, own_key)
    return deleted


def _key_of(record: Record) -> bytes | None:
    try:
        return None if record.key is None else idempotency_key(record.key)
    except (InvalidOption, AttributeError):
        return None  # damaged; `check` finds the key's row


def _pending(store: Rows, ids: set[bytes]) -> list[tuple[Table, bytes]]:
    """Keys of these tasks' messages and log lines that are not on disk yet, so that a scan may miss them."""
    return [
        (table, key) for table in _BY_ID_AND_SEQ for key in store.pending_puts(table) if key[:ID_BYTES] in ids
    ]


def _readable(id: bytes, row: bytes) -> Record | None:
    try:
        return Record.unpack(id, row)
    except ValueError:
        return None  # damaged; it is deleted anyway

"""Pruning: the deletion of ended tasks when their time to keep is over, some at a time.

The batch with a task's final state also adds the task to a row of `expiry`, together with other tasks that
end then and are kept as long. The rows are sorted by time, so due tasks are found without reading others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from ...actors.errors import InvalidOption
from ...actors.map_ids import base_in
from . import actor_rows, map_rows
from .attempt_rows import number_of
from .item_rows import prune_items
from .moves import Moves, Store
from .record import Record
from .schema import ID_BYTES, Table, after_prefix, expiry_ids, expiry_key, id_floor, idempotency_key

MAX_ROWS: Final = 20_000
"""Deleted rows after which a call stops and leaves the rest to the next call, which limits a batch's size."""

IDS_IN_ROW: Final = 100
"""Tasks that one row of `expiry` holds."""

REPLY_AGE: Final = 3600.0
"""Seconds after the time in a letter's id before which its reply is not looked at, whatever its own time."""

_PART: Final = 100  # rows of actors read at a time, and bytes of their values
_PART_BYTES: Final = 8 * 1024 * 1024

_AT_BYTES: Final = 8  # the time at the beginning of a key of `expiry`

_BY_ID: Final = (Table.TASKS, Table.ARGS, Table.RESULTS, Table.CHECKPOINTS)
_OF_ALL: Final = (Table.MAIL, Table.LOGS)
#: The last one has rows only of tasks that ran more than once.
_BY_ID_AND_SEQ: Final = (*_OF_ALL, Table.ATTEMPTS)


class Rows(Store, Protocol):
    """The part of a store that pruning uses."""

    def pending_puts(self, table: Table) -> list[bytes]: ...

    def scan(
        self,
        table: Table,
        start: bytes = ...,
        stop: bytes | None = ...,
        limit: int | None = ...,
        *,
        most_bytes: int | None = ...,
    ) -> list[tuple[bytes, bytes]]: ...


def expiry_rows(at: float, ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """The rows of `expiry` that let these ended tasks be pruned from `at` on (seconds since the epoch)."""
    return {
        expiry_key(at, ids[start]): b"".join(ids[start + 1 : start + IDS_IN_ROW])
        for start in range(0, len(ids), IDS_IN_ROW)
    }


def prune(store: Rows, now: float, limit: int = 500, kept: list[bytes] | None = None) -> int:
    """Delete all rows of at most `limit` tasks that are due by `now` (seconds since the epoch).

    Returns the number of tasks. An actor, or a task with steps, with more than MAX_ROWS rows counts once for each call
    that it takes. The deletes go into the store's open batch. Uncommitted deletes of an earlier call are not counted
    again. So call it again after each commit until it returns 0.

    The number includes children of maps that are under way: they stay until the map is over, and go to `kept`.
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
    moves = Moves()
    has_maps = bool(store.scan(Table.ACTORS, *map_rows.all_maps(), 1))
    of_maps: defaultdict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
    gone: list[tuple[bytes, bytes]] = []
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
            if has_maps and record is not None and (of := _map_of(store, record)) is not None:
                of_maps[of].append(id)
                pruned += 1
                continue
            if record is None or record.actor is not None or record.steps is not None:
                deleted += _forget_actor_rows(store, id, MAX_ROWS - deleted)
                if deleted >= MAX_ROWS:
                    left.append(id)  # the next call looks whether there are more
                    if not pruned:
                        return 1
                    break
            if record is not None:
                moves.remove(record)
            deleted += _forget(store, id, record, pending)
            gone.append((id, id if record is None else record.stream))
            pruned += 1
        if left and len(left) == len(ids):
            break
        store.delete(Table.EXPIRY, key)
        if left:
            # The next call prunes the other tasks of this row.
            store.put(Table.EXPIRY, key[:_AT_BYTES] + left.pop(), b"".join(reversed(left)))
    for of, children in of_maps.items():
        store.put(Table.ACTORS, map_rows.kept_key(*of, children[0]), b"".join(children[1:]))
        if kept is not None:
            kept.extend(children)
    moves.write(store)
    prune_items(store, gone)
    return pruned


def _map_of(store: Rows, record: Record) -> tuple[bytes, bytes] | None:
    """The map under way of which this task is a child, by its parent and its base."""
    parent, base = record.origin, base_in(record.id)
    if parent is None or store.get(Table.ACTORS, map_rows.map_key(parent, base)) != map_rows.UNDER_WAY:
        return None
    return parent, base


def prune_replies(store: Rows, now: float, most: int) -> int:
    """Delete at most `most` replies that are not to be kept any longer at `now` (seconds since the epoch).

    Returns how many. Deletes that are not on disk yet are not counted again. Call it again until it returns less
    than `most`.
    """
    done = _prune_kept(store, now, most)
    return done + _prune_timed(store, now, most - done)


def _prune_kept(store: Rows, now: float, most: int) -> int:
    """Those whose letter's id holds no time, by their index rows."""

    def prune_row(key: bytes) -> bool:
        letter = key[len(actor_rows.REPLY_EXPIRY) + _AT_BYTES :]
        row = store.get(Table.ACTORS, actor_rows.reply_key(letter))
        if row is not None and _expires(row, now) < now + 0.001:  # otherwise it was kept anew
            store.delete(Table.ACTORS, actor_rows.reply_key(letter))
        return True

    stop = actor_rows.reply_expiry_key(now + 0.001, b"")
    return _prune_actor_rows(store, actor_rows.REPLY_EXPIRY, stop, most, prune_row)


def _prune_timed(store: Rows, now: float, most: int) -> int:
    """The others. Their ids sort by the time at which their letter was sent."""

    def has_expired(key: bytes) -> bool:
        row = store.get(Table.ACTORS, key)
        return row is not None and _expires(row, now) <= now

    stop = actor_rows.reply_key(id_floor(now - REPLY_AGE))
    return _prune_actor_rows(store, actor_rows.REPLY, stop, most, has_expired)


def _prune_actor_rows(
    store: Rows, start: bytes, stop: bytes, most: int, fits: Callable[[bytes], bool]
) -> int:
    """Delete at most `most` of these rows that are there still and fit; returns how many."""
    done = 0
    while done < most and (rows := store.scan(Table.ACTORS, start, stop, _PART, most_bytes=_PART_BYTES)):
        for key, _ in rows:
            if done < most and store.get(Table.ACTORS, key) is not None and fits(key):
                store.delete(Table.ACTORS, key)
                done += 1
        start = rows[-1][0] + b"\0"
    return done


def _expires(row: bytes, otherwise: float) -> float:
    """When a reply expires; `otherwise` for a damaged one."""
    try:
        return actor_rows.unpack_reply(row).expires
    except ValueError:
        return otherwise


def forget(store: Rows, record: Record) -> None:
    """Delete all rows of this task, except its live and expiry rows, whose keys only their owners know."""
    has_rows = record.actor is not None or record.steps is not None
    while has_rows and _forget_actor_rows(store, record.id, MAX_ROWS):
        pass
    row = store.get(Table.TASKS, record.id)
    if row is not None and (stored := _readable(record.id, row)) is not None:
        moves = Moves()
        moves.remove(stored)
        moves.write(store)
    _forget(store, record.id, record, _pending(store, {record.id}))
    prune_items(store, [(record.id, record.stream)])


def _forget(store: Rows, id: bytes, record: Record | None, pending: Sequence[tuple[Table, bytes]]) -> int:
    for table in _BY_ID:
        store.delete(table, id)
    deleted = len(_BY_ID)
    for table in _BY_ID_AND_SEQ if record is None or number_of(record) > 1 else _OF_ALL:
        for key, _ in store.scan(table, id, after_prefix(id)):
            store.delete(table, key)
            deleted += 1
    own = [(table, key) for table, key in pending if _owner(table, key) == id]
    for table, key in own:
        if table is Table.ACTORS:
            _forget_due(store, id, key)
        store.delete(table, key)
    if record is not None and record.actor:
        with suppress(InvalidOption):  # damaged; `check` finds the name's row
            name = actor_rows.name_key(record.name, record.actor)
            if store.get(Table.ACTORS, name) == id:  # a later actor may have it now
                store.delete(Table.ACTORS, name)
    own_key = None if record is None else _key_of(record)
    if own_key is not None and store.get(Table.KEYS, own_key) == id:  # it may belong to a later task now
        store.delete(Table.KEYS, own_key)
    return deleted


def _forget_actor_rows(store: Rows, id: bytes, most: int) -> int:
    """Delete at most `most` of the rows on disk that go with an actor's or task's record; returns how many."""
    # In small parts, because a scan reads the values, too, and an actor's storage may be larger than memory.
    deleted = 0
    for part in actor_rows.rows_of(id):
        deleted += _prune_actor_rows(store, *part, most - deleted, lambda key: _forget_due(store, id, key))
    return deleted


def _forget_due(store: Rows, id: bytes, key: bytes) -> bool:
    """Delete the index row if this is the row of a reminder."""
    if key.startswith(actor_rows.reminders_of(id)[0]) and (row := store.get(Table.ACTORS, key)) is not None:
        with suppress(ValueError):  # damaged; `check` finds the index row
            due = actor_rows.unpack_reminder(row).due
            store.delete(Table.ACTORS, actor_rows.due_key(due, id, actor_rows.reminder_name(key)))
    return True


def _key_of(record: Record) -> bytes | None:
    try:
        return None if record.key is None else idempotency_key(record.key)
    except (InvalidOption, AttributeError):
        return None  # damaged; `check` finds the key's row


def _pending(store: Rows, ids: set[bytes]) -> list[tuple[Table, bytes]]:
    """Keys of these tasks' messages, log lines and actors' rows that are not on disk yet: a scan may miss them."""
    return [
        (table, key)
        for table in (*_BY_ID_AND_SEQ, Table.ACTORS)
        for key in store.pending_puts(table)
        if _owner(table, key) in ids
    ]


def _owner(table: Table, key: bytes) -> bytes | None:
    return actor_rows.owner_of(key) if table is Table.ACTORS else key[:ID_BYTES]


def _readable(id: bytes, row: bytes) -> Record | None:
    try:
        return Record.unpack(id, row)
    except ValueError:
        return None  # damaged; it is deleted anyway

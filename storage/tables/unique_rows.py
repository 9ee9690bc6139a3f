"""The rows of unique tasks, in the table of class actors: which task has a text.

================================== ==========================================================
key                                value
================================== ==========================================================
0b, 00, hash of the text (16)      `UniqueRow.pack()`
0b, 01, until in ms (8), the hash  empty; texts that are held for a time, by when it is over
================================== ==========================================================

The text is the name of a task and its key. A text that is held until its task ends has only the first row, which goes
with that end. The rows of a time go when it is over and the task has ended. Times are seconds since the epoch.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple, Protocol, Self

import msgpack

from .record import Record
from .schema import EXPIRY_KEY_BYTES, ID_BYTES, Table, expiry_key

#: The first byte of the key: what the row is.
UNIQUE: Final = b"\x0b"
_ROW: Final = UNIQUE + b"\x00"
_UNTIL: Final = UNIQUE + b"\x01"
_SEPARATOR: Final = "\0"

ROW_KEY_BYTES: Final = len(_ROW) + ID_BYTES
UNTIL_KEY_BYTES: Final = len(_UNTIL) + EXPIRY_KEY_BYTES

_PART: Final = 100  # rows read at a time


class UniqueRow(NamedTuple):
    """The task that has a text."""

    text: str
    id: bytes
    #: From when on its window counts: its start, or the time at which the window before is over.
    since: float
    #: When its window is over; None if it has the text until it ends.
    until: float | None = None
    #: The task that had the text before, while this one waits.
    behind: bytes | None = None
    #: When this one may begin once the one before has ended; None for at once.
    due: float | None = None
    #: The id in the row of the start that has replaced its arguments last.
    by: bytes | None = None

    def pack(self) -> bytes:
        """The value of its row."""
        packed: bytes = msgpack.packb(self)
        return packed

    @classmethod
    def unpack(cls, row: bytes) -> Self:
        """The inverse of `pack`; ValueError for bytes that are none."""
        try:
            fields = msgpack.unpackb(row)
        except (ValueError, msgpack.UnpackException) as error:
            raise ValueError(f"not a row of a unique task: {error}") from error
        if not isinstance(fields, list) or len(fields) != len(cls._fields):
            raise ValueError("not a row of a unique task")
        found = cls(*fields)
        ids, times = (found.behind, found.by), (found.until, found.due)
        if (
            type(found.text) is not str
            or not _is_id(found.id)
            or type(found.since) not in (float, int)
            or not all(id is None or _is_id(id) for id in ids)
            or not all(at is None or type(at) in (float, int) for at in times)
        ):
            raise ValueError("not a row of a unique task: a field of the wrong type")
        return found

    @property
    def keys(self) -> list[bytes]:
        """The keys of its rows: the first is its own."""
        own = row_key(self.text)
        return [own] if self.until is None else [own, until_key(self.until, own)]


def unique_text(name: str, key: str) -> str:
    """The text of a task of this name with this key."""
    return f"{name}{_SEPARATOR}{key}"


def key_in(text: str) -> str:
    """The key in such a text."""
    return text.partition(_SEPARATOR)[2]


def row_key(text: str) -> bytes:
    """The key of the row of a text."""
    return _ROW + hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=ID_BYTES).digest()


def until_key(until: float, own: bytes) -> bytes:
    """The key of the row by its time of a text whose own row has this key."""
    return _UNTIL + expiry_key(until, own[len(_ROW) :])


def own_key(key: bytes) -> bytes:
    """The key of the own row of a text, in that of its row by time."""
    return _ROW + key[-ID_BYTES:]


def is_row(key: bytes) -> bool:
    """Whether this is the key of the own row of a text."""
    return key.startswith(_ROW) and len(key) == ROW_KEY_BYTES


def is_until(key: bytes) -> bool:
    """Whether this is the key of the row of a text by its time."""
    return key.startswith(_UNTIL) and len(key) == UNTIL_KEY_BYTES


class Store(Protocol):
    """The part of a store that `prune_unique` uses."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def delete(self, table: Table, key: bytes) -> None: ...

    def scan(
        self, table: Table, start: bytes = ..., stop: bytes | None = ..., limit: int | None = ...
    ) -> list[tuple[bytes, bytes]]: ...


def prune_unique(store: Store, now: float, most: int) -> int:
    """Delete the rows of at most `most` texts whose time is over at `now`; returns how many.

    The own row of a text whose task has not ended stays until then. Deletes that are not on disk yet are not counted
    again. Call it again after each commit until it returns less than `most`.
    """
    done = 0
    start, stop = _UNTIL, _UNTIL + expiry_key(now + 0.001, b"")
    while done < most and (rows := store.scan(Table.ACTORS, start, stop, _PART)):
        for key, _ in rows:
            if done < most and store.get(Table.ACTORS, key) is not None:
                store.delete(Table.ACTORS, key)
                own = own_key(key)
                if not _is_kept(store, own, key):
                    store.delete(Table.ACTORS, own)
                done += 1
        start = rows[-1][0] + b"\0"
    return done


def _is_kept(store: Store, own: bytes, until: bytes) -> bool:
    """Whether the own row of a text stays although this row by time goes."""
    packed = store.get(Table.ACTORS, own)
    try:
        row = None if packed is None else UniqueRow.unpack(packed)
        if row is None or until not in row.keys:
            return row is not None
        task = store.get(Table.TASKS, row.id)
        return task is not None and not Record.unpack(row.id, task).terminal
    except ValueError:
        return False  # damaged


def _is_id(id: Any) -> bool:
    return type(id) is bytes and len(id) == ID_BYTES

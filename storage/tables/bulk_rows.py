"""The rows of bulks in the table `meta`: a head, the tasks in their order, and what became of each.

The tasks lie in parts. What became of those of one part is one row, which is written in the commits that change them:
it has as many outcomes as tasks of the part have been dealt with.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgpack

from .schema import ID_BYTES, Table

#: Tasks of one part, and of one bulk.
PART: Final = 200
MOST_TASKS: Final = 10_000_000
#: What becomes of a task. The place in this list is on disk.
OUTCOMES: Final = (
    "waits",
    "cancelled",
    "asked to stop",
    "had ended",
    "gone",
    "retried",
    "retried before",
    "refused",
)
#: "open": its tasks are being sent, and nobody is told of it. One that has ended so was given up, and changed nothing.
STATES: Final = ("open", "running", "completed", "cancelled", "failed")

_PREFIX: Final = b"bulk/"
_HEAD, _TASKS, _ENDS = b"\x00", b"\x01", b"\x02"
_NUMBER: Final = struct.Struct(">I")
_LAST_PART: Final = 2**32 - 1


class Rows(Protocol):
    """The part of a store that the removal of bulks needs."""

    def scan(
        self, table: Table, start: bytes = ..., stop: bytes | None = ..., limit: int | None = ...
    ) -> list[tuple[bytes, bytes]]: ...

    def delete(self, table: Table, key: bytes) -> None: ...


@dataclass(slots=True)
class Bulk:
    """The head of a bulk. `counts` says how many tasks have each of the OUTCOMES; those that wait are not counted."""

    id: bytes
    action: str
    query: str
    by: str
    from_scratch: bool
    created: float
    total: int = 0
    done: int = 0
    state: str = "open"
    ended: float | None = None
    problem: str = ""
    counts: list[int] = field(default_factory=lambda: [0] * len(OUTCOMES))

    def pack(self) -> bytes:
        """The row."""
        fields = [
            self.action,
            self.query,
            self.by,
            self.from_scratch,
            self.created,
            self.total,
            self.done,
            self.state,
            self.ended,
            self.problem,
            self.counts,
        ]
        packed: bytes = msgpack.packb(fields)
        return packed


def head_key(id: bytes) -> bytes:
    """The key of the head."""
    return _PREFIX + _HEAD + id


def all_heads() -> tuple[bytes, bytes]:
    """The range of all heads, by the time of their making."""
    return _PREFIX + _HEAD, _PREFIX + _TASKS


def tasks_key(id: bytes, part: int) -> bytes:
    """The key of a part of the tasks."""
    return _PREFIX + _TASKS + id + _NUMBER.pack(part)


def ends_key(id: bytes, part: int) -> bytes:
    """The key of what became of them."""
    return _PREFIX + _ENDS + id + _NUMBER.pack(part)


def all_rows() -> tuple[bytes, bytes]:
    """The range of all rows of bulks."""
    return _PREFIX, _PREFIX[:-1] + b"0"


def id_in(key: bytes) -> bytes:
    """The id in the key of a head, or of a part."""
    at = len(_PREFIX) + 1
    return key[at : at + ID_BYTES]


def part_in(key: bytes) -> int:
    """The number in the key of a part; ValueError."""
    try:
        (number,) = _NUMBER.unpack(key[len(_PREFIX) + 1 + ID_BYTES :])
    except struct.error as error:
        raise ValueError("not the key of a part of a bulk") from error
    return int(number)


def unpack_head(key: bytes, row: bytes) -> Bulk:
    """The head of a row; ValueError for a damaged one."""
    try:
        fields: list[Any] = msgpack.unpackb(row)
        bulk = Bulk(id_in(key), *fields)
        sound = (
            len(bulk.id) == ID_BYTES
            and bulk.action in ("cancel", "retry")
            and bulk.state in STATES
            and 0 <= bulk.done <= bulk.total
            and len(bulk.counts) == len(OUTCOMES)
            and sum(bulk.counts) == bulk.done
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not the head of a bulk: {error}") from error
    if not sound:
        raise ValueError("not the head of a bulk")
    return bulk


def unpack_tasks(row: bytes) -> list[bytes]:
    """The ids in a part; ValueError for a damaged one."""
    if not row or len(row) % ID_BYTES:
        raise ValueError("not a part of a bulk")
    return [row[at : at + ID_BYTES] for at in range(0, len(row), ID_BYTES)]


def pack_ends(ends: list[tuple[int, bytes | None]]) -> bytes:
    """The row of (place in OUTCOMES, id of the new task or None), in the order of the tasks."""
    packed: bytes = msgpack.packb(
        [bytes(code for code, _ in ends), [new for _, new in ends if new is not None]]
    )
    return packed


def unpack_ends(row: bytes) -> list[tuple[str, bytes | None]]:
    """(outcome, id of the new task or None); ValueError for a damaged row."""
    try:
        codes, new = msgpack.unpackb(row)
        retried = iter(new)
        return [(OUTCOMES[code], next(retried) if OUTCOMES[code] == "retried" else None) for code in codes]
    except (ValueError, TypeError, IndexError, StopIteration, RuntimeError, msgpack.UnpackException) as error:
        raise ValueError(f"not what became of a part of a bulk: {error}") from error


def is_head(key: bytes) -> bool:
    """Whether it is the key of a head."""
    return key.startswith(_PREFIX + _HEAD)


def is_ends(key: bytes) -> bool:
    """Whether it is the key of what became of a part."""
    return key.startswith(_PREFIX + _ENDS)


def is_tasks(key: bytes) -> bool:
    """Whether it is the key of a part of the tasks."""
    return key.startswith(_PREFIX + _TASKS)


def oldest_ended(store: Rows, before: float) -> bytes | None:
    """The oldest bulk that ended before `before` (seconds since the epoch); None if there is none.

    It reads what is on disk. One that was made later has not ended before.
    """
    start, stop = all_heads()
    while rows := store.scan(Table.META, start, stop, _HEADS):
        for key, row in rows:
            try:
                bulk = unpack_head(key, row)
            except ValueError:
                continue  # `check` tells of it
            if bulk.created > before:
                return None
            if bulk.ended is not None and bulk.ended < before:
                return bulk.id
        start = rows[-1][0] + b"\0"
    return None


def remove_some(store: Rows, id: bytes, most: int) -> bool:
    """Delete at most `most` rows of a bulk; whether that was all of it.

    The deletes go into the store's open batch, and what is in it is not seen: call it again after the commit. The head
    goes last, so that a crash in between leaves what the next call removes.
    """
    left = most
    for kind in (_TASKS, _ENDS):
        start = _PREFIX + kind + id
        for key, _ in (rows := store.scan(Table.META, start, start + _NUMBER.pack(_LAST_PART), left)):
            store.delete(Table.META, key)
        left -= len(rows)
        if not left:
            return False
    store.delete(Table.META, head_key(id))
    return True


#: Heads that are read at once.
_HEADS: Final = 200

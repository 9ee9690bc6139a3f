"""The rows of bulks in the table `meta`: a head, the tasks in their order, and what became of each.

The tasks lie in parts. What became of those of one part is one row, which is written in the commit that changes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from .schema import ID_BYTES

#: Tasks of one part.
PART: Final = 200
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
STATES: Final = ("open", "running", "completed", "cancelled")

_PREFIX: Final = b"bulk/"
_HEAD, _TASKS, _ENDS = b"\x00", b"\x01", b"\x02"
_NUMBER: Final = struct.Struct(">I")


@dataclass(slots=True)
class Bulk:
    """The head of a bulk."""

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


def unpack_head(key: bytes, row: bytes) -> Bulk:
    """The head of a row; ValueError for a damaged one."""
    try:
        fields: list[Any] = msgpack.unpackb(row)
        bulk = Bulk(key.removeprefix(_PREFIX + _HEAD), *fields)
        sound = (
            len(bulk.id) == ID_BYTES
            and bulk.action in ("cancel", "retry")
            and bulk.state in STATES
            and 0 <= bulk.done <= bulk.total
            and len(bulk.counts) == len(OUTCOMES)
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

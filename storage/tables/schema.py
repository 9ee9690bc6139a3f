"""What the store holds: its tables and how their keys sort.

LMDB keeps each table sorted by key, bytewise. So every key is built to make the wanted order the natural one: numbers
are big-endian and unsigned, ids are UUIDv7 (which sort by time of creation), and what is asked for together shares a
prefix.

=========== ======================= ================================================================
table       key                     value
=========== ======================= ================================================================
tasks       id (16)                 `Record.pack()`
args        id                      msgpack of the arguments; no row for none
live        lane (1), sort (8), id  empty; one row for each task that has not ended
mail        id, seq (8)             a message
checkpoints id                      the last checkpoint's value
results     id                      the value; no row for None
logs        id, seq (8)             msgpack array of lines, each [time, level, text]
keys        idempotency key         id
expiry      ms (8), id              empty; ended tasks that are to be pruned, by when
schedules   name                    owned by the supervisor
meta        b"schema", b"home"      schema version in decimal; 16 random bytes made with the store
=========== ======================= ================================================================
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum, StrEnum
from typing import Final

from ...actors.errors import InvalidOption

SCHEMA_VERSION: Final = 2
"""Goes up when a release cannot read what an older one wrote, or the other way round."""

ID_BYTES: Final = 16
"""Length of a task id."""

MAX_KEY_BYTES: Final = 511
"""The longest key that LMDB takes."""

MAX_PRIORITY: Final = 100
"""Priorities are from minus this to plus this; the highest runs first."""

SCHEMA_ROW: Final = b"schema"
HOME_ROW: Final = b"home"


class Table(StrEnum):
    """The named LMDB databases of a store."""

    TASKS = "tasks"
    ARGS = "args"
    LIVE = "live"
    MAIL = "mail"
    CHECKPOINTS = "checkpoints"
    RESULTS = "results"
    LOGS = "logs"
    KEYS = "keys"
    EXPIRY = "expiry"
    SCHEDULES = "schedules"
    META = "meta"


class Lane(IntEnum):
    """First byte of a live key: what a task that has not ended is waiting for."""

    RUNNING = 0
    #: Ready, and runs on a slot thread.
    SYNC = 1
    #: Ready, and runs on an event loop.
    ASYNC = 2
    #: Ready, and needs a worker of its own.
    ALONE = 3
    #: Not ready before a time, which is its sort.
    DELAYED = 4
    #: Ready, and waits for one of the places for containers.
    BOX = 5


_LIVE: Final = struct.Struct(">BQ16s")
_U64: Final = struct.Struct(">Q")
LIVE_KEY_BYTES: Final = _LIVE.size
"""Length of a live key."""
MAIL_KEY_BYTES: Final = ID_BYTES + _U64.size
"""Length of the key of a message."""
EXPIRY_KEY_BYTES: Final = _U64.size + ID_BYTES
"""Length of an expiry key."""
_MAX_U64: Final = 2**64 - 1


def live_key(lane: int, sort: int, id: bytes) -> bytes:
    """The key of a live row: 1 + 8 + 16 bytes. `sort` is `ready_sort` or `due_sort`."""
    return _LIVE.pack(lane, sort, id)


def live_lane(key: bytes) -> Lane:
    """The lane of a live key; ValueError for a byte that is none."""
    return Lane(key[0])


def live_id(key: bytes) -> bytes:
    """The task id of a live key."""
    return key[9:]


def ready_sort(priority: int) -> int:
    """The sort of a ready task: higher priority first, then by id, which is by age."""
    if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidOption(f"priority must be from {-MAX_PRIORITY} to {MAX_PRIORITY}, not {priority}")
    return MAX_PRIORITY - priority


def due_sort(at: float) -> int:
    """The sort of a delayed task: microseconds since the epoch."""
    return _u64(at * 1e6 + 0.5)


def due_of(key: bytes) -> float:
    """When a delayed task is due, in seconds since the epoch, from its live key."""
    return int.from_bytes(key[1:9], "big") / 1e6


def mail_key(id: bytes, seq: int) -> bytes:
    """The key of a message: sorted by receiver, then by sequence number."""
    return id + _U64.pack(seq)


def mail_keys(id: bytes, first: int, last: int) -> list[bytes]:
    """The keys of a receiver's messages from one number to another."""
    pack = _U64.pack
    return [id + pack(seq) for seq in range(first, last + 1)]


def mail_seq(key: bytes) -> int:
    """The sequence number in the key of a message."""
    return int.from_bytes(key[ID_BYTES:], "big")


def log_key(id: bytes, seq: int) -> bytes:
    """The key of a chunk of log lines."""
    return id + _U64.pack(seq)


def log_seq(key: bytes) -> int:
    """The sequence number in the key of a chunk of log lines."""
    return int.from_bytes(key[ID_BYTES:], "big")


def expiry_key(at: float, id: bytes) -> bytes:
    """The key of a row of tasks, this one first, that may be pruned from `at`, in seconds since the epoch.

    Kept in whole milliseconds.
    """
    try:
        return _U64.pack(int(at * 1000)) + id
    except (OverflowError, struct.error):
        return _U64.pack(_u64(at * 1000)) + id


def _u64(number: float) -> int:
    """The whole number below it that a key can hold; infinity becomes the last one, and means never."""
    return _MAX_U64 if number >= _MAX_U64 else max(int(number), 0)


def expiry_ids(key: bytes, value: bytes) -> list[bytes]:
    """The ids of the tasks that an expiry row is about: one in its key, the others in its value."""
    return [key[8:], *(value[start : start + ID_BYTES] for start in range(0, len(value), ID_BYTES))]


def idempotency_key(text: str) -> bytes:
    """The row key of an idempotency key: its UTF-8, or a hash of it where LMDB would not take that.

    No text's UTF-8 holds the byte 0xFF, so a hash is never mistaken for a text.
    """
    if not text:
        raise InvalidOption("an idempotency key must not be empty; leave it out, or pass None")
    try:
        key = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidOption(f"an idempotency key must be text that has a UTF-8 form: {error}") from error
    return key if len(key) <= MAX_KEY_BYTES else b"\xff" + hashlib.sha256(key).digest()


def after_prefix(prefix: bytes) -> bytes:
    """The smallest key above all keys that start with `prefix`: the `stop` of a scan over them."""
    head = prefix.rstrip(b"\xff")
    if not head:
        return b"\xff" * (
            MAX_KEY_BYTES + 1
        )  # nothing sorts above these keys; this is above all that fit in LMDB
    return head[:-1] + bytes((head[-1] + 1,))

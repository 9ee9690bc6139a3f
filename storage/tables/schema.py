"""The store's schema: its tables, their keys and the order of the keys.

LMDB sorts each table by key, bytewise. So each key is built to sort in the wanted order. Numbers are
big-endian and unsigned. Ids are UUIDv7, which sort by time of creation. Rows that are read together share a
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
schedules   kind (1), …             see `schedule_rows`: schedules, by when they are due, and their history
actors      see `actor_rows`        state, storage, reminders, messages, names and replies of class actors
index       facet (9), id           see `index_rows`: ids of tasks by name, final state, stream, error …
counts      hash of a name (16)     see `counts`: how many tasks of the name are in each state
events      kind (1), …             events, what they matched, and who listens
items       stream, item, mark      see `item_rows`: what tasks have published, and what happened between
attempts    id, number (8)          see `attempt_rows`: earlier attempts of tasks that ran more than once
failures    kind (1), …             see `failure_rows`: tasks that have failed, by fingerprint and time
stats       level (1), …            see `step_rows`: what ended in each step of time, with histograms
meta        b"schema", b"home"      schema version in decimal; 16 random bytes made with the store
meta        b"bulk/", …            see `bulk_rows`: cancels and retries of many tasks
meta        b"starts"               see `start_rows`: when supervisors have started, and with which code
=========== ======================= ================================================================
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum, StrEnum
from typing import Final

from ...actors.errors import InvalidOption
from ...actors.state import State

SCHEMA_VERSION: Final = 5
"""Increased if a release cannot read an older release's store, or the other way round. `storage/upgrades.py` has the
steps from one version to the next.
"""

OLDEST_SCHEMA: Final = 2
"""The oldest version that this release upgrades. Until then it reads such a store without what came later."""

ID_BYTES: Final = 16
"""Length of a task id."""

MAX_KEY_BYTES: Final = 511
"""Length of the longest key that LMDB accepts."""

MAX_PRIORITY: Final = 100
"""Priorities are from -MAX_PRIORITY to MAX_PRIORITY; the highest runs first."""

SCHEMA_ROW: Final = b"schema"
HOME_ROW: Final = b"home"
UPGRADE_ROW: Final = b"upgrade"
"""There while a step of an upgrade is under way that takes several commits."""


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
    ACTORS = "actors"
    INDEX = "index"
    COUNTS = "counts"
    EVENTS = "events"
    ITEMS = "items"
    ATTEMPTS = "attempts"
    FAILURES = "failures"
    STATS = "stats"
    META = "meta"


class Lane(IntEnum):
    """First byte of a live key: the resource or time for which a task that has not ended waits."""

    RUNNING = 0
    #: Ready, and runs on a slot thread.
    SYNC = 1
    #: Ready, and runs on an event loop.
    ASYNC = 2
    #: Ready, and needs a worker of its own.
    ALONE = 3
    #: Not ready before a time, which is the key's sort.
    DELAYED = 4
    #: Ready containers of earlier releases. They move on to GATE.
    BOX = 5
    #: Waits for an app that declares it; the sort is `code_sort`.
    CODE = 6
    #: An actor that is alive and has nothing to do. Short turns are not written, so it may have begun one.
    IDLE = 7
    #: Waits until its supervision tree starts it again.
    HELD = 8
    #: Ready, and runs on one of the slot threads that are kept for callers over HTTP.
    RUN = 9
    #: Ready, and runs on an event loop, in room that is kept for callers over HTTP.
    RUN_ASYNC = 10
    #: Ready, and waits at a limit; the sort is that of `gate_sort` and `ready_sort` together.
    GATE = 11
    #: Ready, and runs on a worker of a pool; the sort is that of `pool_sort` and `ready_sort` together.
    POOL = 12
    #: Waits for a supervisor that has its pool; the sort is `code_sort`.
    NO_POOL = 13


READY: Final = (Lane.SYNC, Lane.ASYNC, Lane.RUN, Lane.RUN_ASYNC, Lane.ALONE)
"""The lanes in which tasks wait for a worker. Each pool has its own of them, in the lane POOL."""
_STATES: Final[dict[int, State]] = {Lane.RUNNING: State.RUNNING, Lane.IDLE: State.IDLE}
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
    """The lane of a live key; ValueError if its byte is no lane."""
    return Lane(key[0])


def live_id(key: bytes) -> bytes:
    """The task id of a live key."""
    return key[9:]


def state_in(lane: int) -> State:
    """The state of a task whose live row is in this lane."""
    return _STATES.get(lane, State.QUEUED)


def ready_sort(priority: int) -> int:
    """The sort of a ready task: higher priority first. Ids then sort equal priorities by age."""
    if not -MAX_PRIORITY <= priority <= MAX_PRIORITY:
        raise InvalidOption(f"priority must be from {-MAX_PRIORITY} to {MAX_PRIORITY}, not {priority}")
    return MAX_PRIORITY - priority


def pool_sort(pool: str, lane: Lane) -> int:
    """The sort in the lane POOL of the tasks that would stand in this lane without a pool; add their `ready_sort`."""
    text = f"{lane:d}\0{pool}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") << 8


def lane_rows(lane: Lane, pool: str | None = None) -> tuple[bytes, bytes]:
    """Where the rows of a lane begin and end; with the name of a pool, those of its own."""
    if pool is None:
        return live_key(lane, 0, b""), live_key(lane + 1, 0, b"")
    sort = pool_sort(pool, lane)
    return live_key(Lane.POOL, sort, b""), live_key(Lane.POOL, sort + 256, b"")


def due_sort(at: float) -> int:
    """The sort of a delayed task: microseconds since the epoch."""
    return _u64(at * 1e6 + 0.5)


VOLATILE_SORTS: Final = 1 << 63
"""The first sort of actors that are not on disk and die with their worker."""


def actor_sort(class_name: str, *, volatile: bool = False) -> int:
    """Sort of an actor in the lanes IDLE and RUNNING: those of one class stand together. Tasks that run have 0."""
    return max(code_sort(class_name) >> 1, 2) | (VOLATILE_SORTS if volatile else 0)


def code_sort(name: str) -> int:
    """The sort of a task whose code or pool is absent: tasks of one name stand together, the oldest first."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest(), "big")


def due_of(key: bytes) -> float:
    """The due time of a delayed task, in seconds since the epoch, from its live key."""
    return int.from_bytes(key[1:9], "big") / 1e6


def mail_key(id: bytes, seq: int) -> bytes:
    """The key of a message: sorted by receiver, then by sequence number."""
    return id + _U64.pack(seq)


def mail_keys(id: bytes, first: int, last: int) -> list[bytes]:
    """The keys of a receiver's messages with numbers from `first` to `last`, inclusive."""
    pack = _U64.pack
    return [id + pack(seq) for seq in range(first, last + 1)]


def mail_seq(key: bytes) -> int:
    """The sequence number in the key of a message."""
    return int.from_bytes(key[ID_BYTES:], "big")


#: The key of a chunk of log lines, and the sequence number in it.
log_key, log_seq = mail_key, mail_seq


def expiry_key(at: float, id: bytes) -> bytes:
    """The key of an expiry row whose first task is `id`. Its tasks may be pruned from `at` on.

    `at` is in seconds since the epoch; the key holds whole milliseconds.
    """
    try:
        return _U64.pack(int(at * 1000)) + id
    except (OverflowError, struct.error):
        return _U64.pack(_u64(at * 1000)) + id


def _u64(number: float) -> int:
    """The number rounded down and limited to 64 bits. Infinity becomes the largest one, which means never."""
    return _MAX_U64 if number >= _MAX_U64 else max(int(number), 0)


def id_floor(at: float) -> bytes:
    """The first bytes of the smallest UUIDv7 made at this time, in seconds since the epoch."""
    return min(max(int(at * 1000), 0), 2**48 - 1).to_bytes(6, "big")


def expiry_ids(key: bytes, value: bytes) -> list[bytes]:
    """The task ids of an expiry row: one in its key, the others in its value."""
    return [key[8:], *(value[start : start + ID_BYTES] for start in range(0, len(value), ID_BYTES))]


def idempotency_key(text: str) -> bytes:
    """The row key of an idempotency key: its UTF-8, or 0xFF and a hash if that is too long for LMDB.

    UTF-8 never contains the byte 0xFF, so a hash cannot equal a text.
    """
    if not text:
        raise InvalidOption("an idempotency key must not be empty; leave it out, or pass None")
    try:
        key = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidOption(
            f"an idempotency key must be text that can be written as UTF-8: {error}"
        ) from error
    return key if len(key) <= MAX_KEY_BYTES else b"\xff" + hashlib.sha256(key).digest()


def after_prefix(prefix: bytes) -> bytes:
    """The smallest key above all keys that start with `prefix`: the `stop` of a scan over them."""
    head = prefix.rstrip(b"\xff")
    if not head:
        return b"\xff" * (
            MAX_KEY_BYTES + 1
        )  # no prefix sorts above these keys; this is above all keys that LMDB accepts
    return head[:-1] + bytes((head[-1] + 1,))

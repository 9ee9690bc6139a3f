"""Record: a task's row in the `tasks` table, and the supervisor's copy of it in memory.

Most tasks start with their declared options, run once and complete. So a row is a short array of the fields
that every task has. The other fields are in a map inside it, which holds only values that differ from their
defaults. Most rows have no map.
"""

from __future__ import annotations

from typing import Any, Final

import msgpack

from ...actors.state import State
from ...actors.task.trigger import EVENT

STATES: Final = (
    State.QUEUED,
    State.RUNNING,
    State.COMPLETED,
    State.FAILED,
    State.TIMED_OUT,
    State.CANCELLED,
    State.IDLE,
)
"""A state's code in a row is its position here, so a new state comes last."""

CODES: Final = {state: code for code, state in enumerate(STATES)}
"""The code of each state in a row."""

#: Items of the array, msgpack's first byte of an array of this length, and msgpack's byte for None.
_ITEMS: Final = 11
_HEAD: Final = 0x90 | _ITEMS
_NONE: Final = b"\xc0"


class Record:
    """The stored facts of one task.

    Times are seconds since the epoch, as floats; ids are 16 bytes (UUIDv7).
    """

    __slots__ = (
        "__dict__",  # only values that differ from the defaults below: do not set a default
        "attempt",
        "created",
        "ended",
        "id",
        "name",
        "origin",
        "pid",
        "place",
        "started",
        "state",
        "stream",
    )

    interruptions: int = 0
    crashes: int = 0
    """How many workers died while they ran this task as a suspect. Of these, `deaths` has the recent ones."""
    deaths: tuple[float, ...] | None = None
    """When these workers died. None although there were crashes: an earlier release counted them."""
    delays_from: int = 1
    """Number of the attempt whose retry has the first delay of the policy. Later than 1 after a healthy attempt."""
    deaths_under: bytes | None = None
    """Of an actor, the id of the message under which these workers died; empty if they were building the actor."""
    letter_tries: int = 0
    """Of an actor, how often the first message of its mailbox has failed. It is tried again."""
    alone: bool = False
    """The task must run in a worker of its own, because a worker died while it ran with others."""
    options: dict[str, Any] | None = None
    """The declared options that the caller changed; None for none."""
    key: str | None = None
    """The idempotency key."""
    due: float | None = None
    """Earliest time of the next attempt: a requested delay, or a retry's backoff."""
    error: tuple[str, str, str, dict[str, Any]] | None = None
    """(type, message, traceback, details) of the last attempt that did not complete."""
    result: int | None = None
    """Bytes of its encoded result, if it has one."""
    progress: tuple[float, float | None, str] | None = None
    """(done, total, note)"""
    checkpoint: tuple[float, int] | None = None
    """(time, size in bytes) of the last checkpoint."""
    tries: int = 1
    """The most attempts of its retry policy. Stored with a running task, a retry and an error; 1 for no policy."""
    closed: bool = False
    """Whether further messages are refused."""
    cancel: bool = False
    """Whether a cancel was accepted. The only possible final state then is `cancelled`."""
    retry_of: bytes | None = None
    """The ended task that this one retries."""
    metadata: dict[str, str] | None = None
    """The metadata that the start has given; None for none."""
    actor: str | None = None
    """Of a class actor, its name within its class; empty if it has none. None: it is a task of another kind."""

    kind: str = "task"
    """Why there is this task; see `actors/task/trigger.py`."""
    trigger: dict[str, Any] | None = None
    """What has triggered a run, as `Trigger.pack` gives it."""
    ready: float | None = None
    """From when on its attempt could begin: after a delay, a retry or an interruption. None: since it was created."""
    depth: int = 0
    """How many events lie between this task and the start of its stream."""
    joined: bool = False
    """Whether others are in its stream, where neither its origin nor the stream says so: see `shares_stream`."""
    limit_key: str | None = None
    """The key at its limit that the start has given; None for none."""
    trace: str | None = None
    """The trace context of its start, as a W3C traceparent; None for none."""
    volatile: bool = False
    """Of an actor, whether its state and messages are not on disk and it ends with its worker."""
    tree: str | None = None
    """Of a child of a supervision tree, its path there."""
    held: bool = False
    """Whether it waits until its supervision tree starts it again."""
    tries_from: int = 1
    """Number of the attempt from which the retries of the policy count: its supervision tree has restarted it then."""
    unique: str | None = None
    """Of a unique task, its text: see `unique_rows`. None: it is not unique."""
    linked: bool = False
    """Whether it is cancelled when the task that has started it (`origin`) has ended."""
    links: bool = False
    """Whether it has started tasks that are linked to it."""
    pool: str | None = None
    """The pool whose workers run it; None for none."""
    steps: tuple[int, int] | None = None
    """How many steps it keeps, and the bytes of their values; None for none. Of an actor, those of all its messages."""
    maps: bool = False
    """Whether it has children of `map_tasks`; see `map_rows`."""

    def __init__(
        self,
        id: bytes,
        name: str,
        created: float,
        stream: bytes,
        origin: bytes | None = None,
        options: dict[str, Any] | None = None,
        key: str | None = None,
        due: float | None = None,
        retry_of: bytes | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.state = State.QUEUED
        #: Correlation id, shared with all tasks started from the same run.
        self.stream = stream
        #: The task that started this one.
        self.origin = origin
        self.created = created
        self.started: float | None = None
        self.ended: float | None = None
        #: Number of the current or next attempt, from 1. An interruption does not change it.
        self.attempt = 1
        #: The pid of the worker that runs it.
        self.pid: int | None = None
        #: (lane, sort) of its row in the `live` table; None once it has ended.
        self.place: tuple[int, int] | None = None
        if options is not None:
            self.options = options
        if key is not None:
            self.key = key
        if due is not None:
            self.due = due
        if retry_of is not None:
            self.retry_of = retry_of

    @property
    def terminal(self) -> bool:
        return self.ended is not None

    @property
    def shares_stream(self) -> bool:
        """Whether others were in its stream when it came. The run of an event may be alone in that of the event."""
        return self.joined or self.origin is not None or (self.stream != self.id and self.kind != EVENT)

    def pack(self) -> bytes:
        """The row's bytes: a msgpack array in the order of `unpack`."""
        rest: dict[str, Any] | None = self.__dict__
        if rest:
            rest = {name: value for name, value in rest.items() if value != _DEFAULTS[name]}
        packed: bytes = _PACK(
            (
                CODES[self.state],
                rest or None,
                self.name,
                None if self.stream == self.id else self.stream,
                self.origin,
                self.created,
                self.started,
                self.ended,
                self.attempt,
                self.pid,
                self.place,
            )
        )
        return packed

    @classmethod
    def unpack(cls, id: bytes, row: bytes) -> Record:
        """The record of a row; ValueError if the bytes are no record."""
        record = cls.__new__(cls)
        record.id = id
        try:
            (
                code,
                rest,
                record.name,
                stream,
                record.origin,
                record.created,
                record.started,
                record.ended,
                record.attempt,
                record.pid,
                record.place,
            ) = msgpack.unpackb(row, use_list=False)
            record.state = STATES[code]
            place = record.place
            if (
                type(record.name) is not str
                or type(record.attempt) is not int
                or type(record.created) not in (float, int)
                or (place is not None and not (type(place[0]) is type(place[1]) is int))
            ):
                raise ValueError("a field of the wrong type")
            record.stream = id if stream is None else stream
            if rest:
                if not rest.keys() <= _DEFAULTS.keys():
                    raise ValueError("unknown fields")
                for name, value in rest.items():
                    if type(value) not in _KINDS[name]:
                        raise ValueError(f"{name} of the wrong type")
                record.__dict__.update(rest)
        except (ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException) as error:
            raise ValueError(f"not a task record: {error}") from error
        return record


EXTRAS: Final = frozenset(("metadata", "limit_key", "unique_key", "trace", "linked"))
"""What a start may give among its options that is none: fields of the record, and the key of a unique task."""

#: The fields that most records do not store, and their defaults.
_DEFAULTS: Final = {name: getattr(Record, name) for name in Record.__annotations__}

#: The types that these fields may have as they are unpacked; with another one, a change of the task would fail.
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    **dict.fromkeys(
        (
            "interruptions",
            "crashes",
            "tries",
            "delays_from",
            "letter_tries",
            "result",
            "depth",
            "tries_from",
        ),
        (int,),
    ),
    **dict.fromkeys(
        ("alone", "closed", "cancel", "joined", "volatile", "held", "linked", "links", "maps"), (bool,)
    ),
    **dict.fromkeys(("error", "progress", "checkpoint", "deaths", "steps"), (tuple,)),
    **dict.fromkeys(("options", "metadata", "trigger"), (dict,)),
    **dict.fromkeys(("key", "actor", "kind", "tree", "limit_key", "unique", "trace", "pool"), (str,)),
    "due": (float, int),
    "ready": (float, int),
    **dict.fromkeys(("retry_of", "deaths_under"), (bytes,)),
}


_PACK = msgpack.Packer(autoreset=True).pack


_NONE_TYPE: Final = type(None)

HEAD_BYTES: Final = 3
"""The first bytes of a row that `state_of` and `is_bare` read."""


def state_of(row: bytes) -> State:
    """The state of a row, ten times as fast as `Record.unpack`; ValueError if the bytes are no record.

    The state's code is the first item and below 128, so it is the byte after the array's first byte.
    """
    try:
        if row[0] == _HEAD:
            return STATES[row[1]]
    except IndexError:
        pass
    raise ValueError("not a task record: too short, or without a state")


def is_bare(row: bytes) -> bool:
    """Whether a row has only the fields of all rows: no error, no result, no options and so on."""
    return row[2:3] == _NONE


def end_of(row: bytes) -> tuple[State, int | None, tuple[str, str, str, dict[str, Any]] | None]:
    """The state, the bytes of the result and the error, a third of the work of `Record.unpack`.

    ValueError if the bytes are no record.
    """
    state = state_of(row)
    if row[2:3] == _NONE:
        return state, None, None
    try:
        rest = msgpack.unpackb(row, use_list=False)[1]
        result, error = rest.get("result"), rest.get("error")
        if type(result) in (int, _NONE_TYPE) and type(error) in (tuple, _NONE_TYPE):
            return state, result, error
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a task record: {error}") from error
    raise ValueError("not a task record: an end of the wrong type")


def outline_of(row: bytes) -> tuple[str, int, str | None, bool]:
    """The name, the state's code and the type of the error, a third of the work of `Record.unpack`.

    Last comes whether this is all that the index has of the task: it shares no stream or origin with others, is in its
    first attempt, has no key and retries no other task. ValueError if the bytes are no record.
    """
    try:
        code, rest, name, stream, origin, _, _, _, attempt, *_ = msgpack.unpackb(row, use_list=False)
        STATES[code]
        if type(name) is not str:
            raise ValueError("a name of the wrong type")
        alone = stream is None is origin and attempt == 1
        if not rest:
            return name, code, None, alone
        error = rest.get("error")
        alone = alone and "key" not in rest and "retry_of" not in rest
        return name, code, error[0] if error else None, alone
    except (ValueError, TypeError, IndexError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"not a task record: {error}") from error

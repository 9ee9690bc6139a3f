"""The table `failures`: tasks that have failed or timed out, by their fingerprint and the time of their end.

=================================== ================================================================
key                                 value
=================================== ================================================================
1, fingerprint (8)                  msgpack [task, type, frame, message, number of tasks]
2, fingerprint, ms (8), id          empty; one row for each of the tasks, by the time of its end
3, hour (4), fingerprint            number of tasks that ended in this hour
4, ten seconds (4), fingerprint     number of tasks that ended in these ten seconds
=================================== ================================================================

All of it follows from the records of these tasks. It is written with the task's end and removed with the record.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, Protocol

import msgpack

from ...actors.state import State
from .fingerprint import BYTES, Cause, cause_of
from .record import CODES, Record
from .schema import ID_BYTES, Table


class Part(IntEnum):
    """First byte of a key."""

    CAUSE = 1
    TASK = 2
    HOUR = 3
    TEN_SECONDS = 4


SECONDS: Final = {Part.HOUR: 3600, Part.TEN_SECONDS: 10}
"""The length of what one number counts."""

FAILED: Final = frozenset(CODES[state] for state in (State.FAILED, State.TIMED_OUT))
"""The codes of the states that are failures."""

_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_COUNTED: Final = 1 + _U32.size + BYTES  # length of the key of a number
_TASK: Final = 1 + BYTES + _U64.size + ID_BYTES


class Rows(Protocol):
    """The part of a store that the changes need."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def delete(self, table: Table, key: bytes) -> None: ...


def has_failed(record: Record) -> bool:
    """Whether the task of this record is in the table."""
    return record.ended is not None and record.state in (State.FAILED, State.TIMED_OUT)


def cause(record: Record) -> Cause:
    """The cause of the failure of a task that has failed."""
    kind, message, traceback, *_ = record.error or (str(record.state), "", "")
    return cause_of(record.name, kind, message, traceback)


def cause_key(fingerprint: bytes) -> bytes:
    """The key of the row that says what the fingerprint stands for."""
    return b"\1" + fingerprint


def task_key(fingerprint: bytes, ended: float, id: bytes = b"") -> bytes:
    """The key of a task's row. Without an id: the first that one of this time may have."""
    return b"\2" + fingerprint + _U64.pack(max(0, int(ended * 1000))) + id


def task_in(key: bytes) -> tuple[float, bytes]:
    """When the task of this row has ended, in seconds since the epoch, and its id; ValueError."""
    if len(key) != _TASK:
        raise ValueError("a key of the wrong length")
    return _U64.unpack_from(key, 1 + BYTES)[0] / 1000, key[-ID_BYTES:]


def number_key(part: Part, at: float, fingerprint: bytes = b"") -> bytes:
    """The key of the number of the tasks that ended around this time. Without a fingerprint: the first of that time."""
    return bytes((part,)) + _U32.pack(min(max(0, int(at // SECONDS[part])), 2**32 - 1)) + fingerprint


def fingerprint_in(key: bytes) -> bytes:
    """The fingerprint of the key of a number."""
    return key[-BYTES:]


def pack_number(number: int) -> bytes:
    """The value of a number."""
    return _U64.pack(number)


def unpack_number(row: bytes) -> int:
    """A number; ValueError for a damaged row."""
    try:
        return int(_U64.unpack(row)[0])
    except struct.error as error:
        raise ValueError(f"not a number of failures: {error}") from error


def pack_cause(cause: Cause, number: int) -> bytes:
    """The value of the row of a cause."""
    packed: bytes = msgpack.packb([*(text.encode(errors="surrogatepass") for text in cause), number])
    return packed


def unpack_cause(row: bytes) -> tuple[Cause, int]:
    """A cause and the number of its tasks; ValueError for a damaged row."""
    try:
        *texts, number = msgpack.unpackb(row)
        cause = Cause(*(text.decode(errors="surrogatepass") for text in texts))
        if type(number) is not int:
            raise ValueError("a number of the wrong type")
        return cause, number
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise ValueError(f"not the row of a cause: {error}") from error


def keys_of(record: Record) -> Iterator[bytes]:
    """The keys of all rows that a task which has failed has a part in."""
    assert record.ended is not None
    fingerprint = cause(record).fingerprint
    yield cause_key(fingerprint)
    yield task_key(fingerprint, record.ended, record.id)
    for part in SECONDS:
        yield number_key(part, record.ended, fingerprint)


def share_of(key: bytes, value: bytes) -> int:
    """Of how many tasks this row tells; ValueError for a damaged one."""
    part = Part(key[0])
    if part is Part.CAUSE:
        cause, number = unpack_cause(value)
        if cause.fingerprint != key[1:]:
            raise ValueError("a cause with another fingerprint")
        return number
    if part is Part.TASK:
        task_in(key)
        return 1
    if len(key) != _COUNTED:
        raise ValueError("a key of the wrong length")
    return unpack_number(value)


class Failures:
    """The changes of one commit."""

    __slots__ = ("_causes", "_numbers", "_tasks")

    def __init__(self) -> None:
        self._causes: dict[bytes, Cause] = {}
        self._numbers: defaultdict[bytes, int] = defaultdict(int)
        self._tasks: dict[bytes, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def add(self, record: Record) -> None:
        """This task has failed."""
        self._note(record, 1)

    def remove(self, record: Record) -> None:
        """The record of this task, which had failed, is deleted."""
        self._note(record, -1)

    def _note(self, record: Record, by: int) -> None:
        assert record.ended is not None
        why = cause(record)
        fingerprint = why.fingerprint
        self._causes[fingerprint] = why
        self._tasks[task_key(fingerprint, record.ended, record.id)] = by > 0
        self._numbers[cause_key(fingerprint)] += by
        for part in SECONDS:
            self._numbers[number_key(part, record.ended, fingerprint)] += by

    def write(self, store: Rows) -> None:
        """Put all of it into the store's open batch."""
        for key, there in self._tasks.items():
            if there:
                store.put(Table.FAILURES, key, b"")
            else:
                store.delete(Table.FAILURES, key)
        for key, by in self._numbers.items():
            row = store.get(Table.FAILURES, key)
            try:
                number = by if row is None else share_of(key, row) + by
            except ValueError:
                number = by  # damaged; `check` has found it
            if number <= 0:
                store.delete(Table.FAILURES, key)
            elif key[0] == Part.CAUSE:
                store.put(Table.FAILURES, key, pack_cause(self._causes[key[1:]], number))
            else:
                store.put(Table.FAILURES, key, pack_number(number))

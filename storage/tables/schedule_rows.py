"""The rows of schedules: one table, whose keys begin with a byte that says what the row is.

====================== ==========================================================================================
key                    value
====================== ==========================================================================================
01, key                a schedule: `ScheduleRow.pack()`
02, due (8), key       empty; active schedules by when their next run begins, in microseconds since the epoch
03, key, 00, number (8) msgpack of [scheduled at, time, run or None, why it was skipped or None, by whom or None]
04, key                empty; schedules that the code declares
05, ended (8), key     empty; schedules that have ended, by when, in microseconds
06                     how many schedules have not ended, in decimal
====================== ==========================================================================================

Times are seconds since the epoch. Keys of schedules are UTF-8 without a zero byte, at most 400 bytes.
"""

from __future__ import annotations

import operator
import struct
from dataclasses import dataclass, field, fields
from itertools import compress
from typing import Any, Final, NamedTuple, Self

import msgpack

from . import removed_rows
from .schema import ID_BYTES, Table, after_prefix

#: The first bytes of keys: what the row is.
ROW, DUE, HISTORY, DECLARED, ENDED = (bytes((kind,)) for kind in range(1, 6))
#: The key of the number of schedules that have not ended.
COUNT: Final = b"\x06"

#: Entries of history that a schedule keeps.
KEPT: Final = 1_000

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""

_U64: Final = struct.Struct(">Q")


class Span(NamedTuple):
    """A time for which a schedule was paused: its occurrences after `start` and up to `end` are skipped."""

    start: float
    end: float
    reason: str


@dataclass(slots=True)
class ScheduleRow:
    """A stored schedule."""

    key: str
    task: str
    #: As `Definition.pack` gives it.
    definition: dict[str, Any]
    created: float
    #: When it was registered with this timing: intervals count from here.
    anchor: float
    #: The next occurrence, and when its run begins; None if there is none.
    next: float | None = None
    begin: float | None = None
    args: bytes | None = None
    #: The declared options of the task that the caller changed.
    options: dict[str, Any] | None = None
    declared: bool = False
    #: Of the task that made it: stream, id, and how many events lie before it.
    stream: bytes | None = None
    origin: bytes | None = None
    depth: int = 0
    #: The last occurrence that was dealt with.
    last: float | None = None
    #: Runs that it has started, those of them that count for its limit, and occurrences that were skipped.
    runs: int = 0
    counted: int = 0
    skips: int = 0
    #: Number of the last entry of its history.
    number: int = 0
    #: Failed runs in a row.
    failures: int = 0
    #: When it was paused, and why; when the code that declares it was gone.
    paused: float | None = None
    why_paused: str | None = None
    orphaned: float | None = None
    #: When it ended, and why.
    ended: float | None = None
    why_ended: str | None = None
    #: Pauses whose occurrences are still to be skipped.
    spans: tuple[Span, ...] = ()
    #: Runs that have not ended, oldest first, and whether each waits for those before it. Not if they may overlap.
    active: tuple[tuple[bytes, bool], ...] = ()
    #: New rows of its history, which are written with it; None deletes. They are no part of its own row.
    entered: dict[bytes, bytes | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_active(self) -> bool:
        """Whether its occurrences become runs."""
        return self.paused is None and self.orphaned is None and self.ended is None

    @property
    def state(self) -> str:
        """ "active", "paused", "orphaned" or "ended"."""
        if self.ended is not None:
            return "ended"
        return "orphaned" if self.orphaned is not None else "paused" if self.paused is not None else "active"

    @property
    def due(self) -> float | None:
        """The time of its row by time; None if it has none."""
        return self.begin if self.is_active else None

    @property
    def marks(self) -> tuple[float | None, float | None, bool]:
        """What its other rows say of it: see DUE, ENDED and DECLARED."""
        return self.due, self.ended, self.declared

    def pack(self) -> bytes:
        """The row's bytes: a msgpack map without the key and what has its default."""
        values = _ALL(self)
        # Every default (None, False, 0, an empty tuple) exists once in Python, so no values are compared.
        changed = map(operator.is_not, values, _DEFAULTS.values())
        packed: bytes = _PACK(dict(compress(zip(_NAMES, values, strict=True), changed)))
        return packed

    @classmethod
    def unpack(cls, key: str, row: bytes) -> Self:
        """A stored schedule; ValueError if the bytes are none."""
        try:
            found = msgpack.unpackb(row, use_list=False)
            wrong = [name for name, value in found.items() if not isinstance(value, _TYPES.get(name, ()))]
            if wrong:
                raise ValueError(f"{wrong[0]!r:.40} is unknown or of the wrong type")
            schedule = cls(key=key, **found)
            if schedule.spans:
                schedule.spans = tuple(Span(*span) for span in schedule.spans)
            for run, _ in schedule.active:
                if type(run) is not bytes or len(run) != ID_BYTES:
                    raise ValueError("a run of the wrong type")
        except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
            raise ValueError(f"not a schedule: {error}") from error
        return schedule


class Entry(NamedTuple):
    """An entry of a history."""

    scheduled_at: float
    time: float
    run: bytes | None
    reason: str | None
    by: str | None = None

    def pack(self) -> bytes:
        packed: bytes = _PACK(self)
        return packed

    @classmethod
    def unpack(cls, row: bytes) -> Entry:
        """An entry; ValueError if the bytes are none."""
        try:
            entry = cls(*msgpack.unpackb(row, use_list=False))
            if (
                type(entry.scheduled_at) not in (float, int)
                or type(entry.time) not in (float, int)
                or (entry.run is None) == (entry.reason is None)
                or (entry.run is not None and len(entry.run) != ID_BYTES)
            ):
                raise ValueError("a field of the wrong type")
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            raise ValueError(f"not an entry of a history: {error}") from error
        return entry


def row_key(key: str) -> bytes:
    """The key of a schedule's row."""
    return ROW + key.encode()


def key_of(row: bytes) -> str:
    """The key of the schedule in a key of the kinds ROW and DECLARED."""
    return row[1:].decode()


def all_rows(after: str | None = None) -> Range:
    """All schedules by key, or those behind this one."""
    return ROW if after is None else row_key(after) + b"\0", after_prefix(ROW)


def due_key(due: float, key: str) -> bytes:
    """The key of an active schedule's row by time."""
    return DUE + _U64.pack(round(due * 1e6)) + key.encode()


def due_range(until: float | None = None) -> Range:
    """The schedules that are due at this time or before; all of them for None."""
    return DUE, after_prefix(DUE) if until is None else DUE + _U64.pack(round(until * 1e6) + 1)


def ended_key(ended: float, key: str) -> bytes:
    """The key of an ended schedule's row by time."""
    return ENDED + _U64.pack(round(ended * 1e6)) + key.encode()


def ended_range(before: float) -> Range:
    """The schedules that ended before this time."""
    return ENDED, ENDED + _U64.pack(max(0, round(before * 1e6)))


def timed(row: bytes) -> tuple[float, str]:
    """The time and the schedule in a key of the kinds DUE and ENDED."""
    return _U64.unpack_from(row, 1)[0] / 1e6, row[9:].decode()


def declared_key(key: str) -> bytes:
    """The key of the row which says that the code declares a schedule."""
    return DECLARED + key.encode()


def all_declared() -> Range:
    """The keys of all that is declared."""
    return DECLARED, after_prefix(DECLARED)


def entry_key(key: str, number: int) -> bytes:
    """The key of an entry of a schedule's history."""
    return HISTORY + key.encode() + b"\0" + _U64.pack(number)


def history_of(key: str, before: int | None = None) -> Range:
    """The history of a schedule, oldest first; up to the entry before this number."""
    prefix = HISTORY + key.encode() + b"\0"
    return prefix, after_prefix(prefix) if before is None else prefix + _U64.pack(before)


def entry_of(row: bytes) -> tuple[str, int]:
    """The schedule and the number in the key of an entry."""
    return row[1:-9].decode(), _U64.unpack(row[-8:])[0]


def remove(store: Any, row: ScheduleRow) -> None:
    """Delete an ended schedule with its history. `store` is a `prune.Rows`."""
    delete = store.delete
    for number in range(max(1, row.number - KEPT + 1), row.number + 1):
        delete(Table.SCHEDULES, entry_key(row.key, number))
    delete(Table.SCHEDULES, row_key(row.key))
    delete(Table.SCHEDULES, declared_key(row.key))
    if row.ended is not None:
        delete(Table.SCHEDULES, ended_key(row.ended, row.key))


def prune_schedules(store: Any, before: float, most: int) -> int:
    """Delete at most `most` schedules that ended before this time; how many. Call it until it returns 0.

    One with runs that have not ended stays. `store` is a `prune.Rows`.
    """
    done = runs = skips = 0
    for index, _ in store.scan(Table.SCHEDULES, *ended_range(before), 2 * most):
        _, key = timed(index)
        packed = store.get(Table.SCHEDULES, row_key(key))
        if done >= most:
            break
        if packed is None or store.get(Table.SCHEDULES, index) is None:
            continue  # deleted in a batch that is not on disk yet
        try:
            row = ScheduleRow.unpack(key, packed)
        except ValueError:
            continue
        if not row.active:
            remove(store, row)
            done += 1
            runs += row.runs
            skips += row.skips
    removed_rows.add(store, removed_rows.SCHEDULES, [runs, skips])
    return done


_PACK: Final = msgpack.Packer(autoreset=True).pack
_STORED: Final = [each for each in fields(ScheduleRow) if each.name not in ("key", "entered")]
_NAMES: Final = tuple(each.name for each in _STORED)
#: Fields without a default are always stored.
_DEFAULTS: Final = {each.name: each.default for each in _STORED}
_ALL: Final = operator.attrgetter(*_NAMES)
_NUMBER: Final = (float, int)
_OPTIONAL: Final = (float, int, type(None))
_TYPES: Final[dict[str, Any]] = {
    "task": str,
    "definition": dict,
    "created": _NUMBER,
    "anchor": _NUMBER,
    "next": _OPTIONAL,
    "begin": _OPTIONAL,
    "args": (bytes, type(None)),
    "options": (dict, type(None)),
    "declared": bool,
    "stream": (bytes, type(None)),
    "origin": (bytes, type(None)),
    "depth": int,
    "last": _OPTIONAL,
    "runs": int,
    "counted": int,
    "skips": int,
    "number": int,
    "failures": int,
    "paused": _OPTIONAL,
    "why_paused": (str, type(None)),
    "orphaned": _OPTIONAL,
    "ended": _OPTIONAL,
    "why_ended": (str, type(None)),
    "spans": tuple,
    "active": tuple,
}

"""The table `stats`: what ended in each step of time, by name, with histograms of the times to wait and to run.

Steps last 10 s, 1 min, 10 min and 1 h. A commit changes the row of the present 10 s alone. Rows of longer steps are
sums of finished shorter ones, made later. A *mark* of each longer step says up to which time it has been summed up. So
a window is covered by long steps in its middle and short ones at its ends, and what is not summed up yet is read from
the shorter steps.

=================================== ================================================================
key                                 value
=================================== ================================================================
level (1), number of step (4),      `Step.pack()`
hash of the name (8)
4, 0 (4), hash of the name          `Step.pack()`: what ended in hours that are no longer kept
255                                 msgpack [mark of 1 min, of 10 min, of 1 h], seconds since the epoch
=================================== ================================================================
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgpack

from ...actors.state import State
from .histogram import Counted, pack, unpack

PERIODS: Final = (10, 60, 600, 3_600)
"""Seconds of a step, by its level."""

KEPT: Final = (7_200, 2 * 86_400, 14 * 86_400, 400 * 86_400)
"""Seconds for which the steps of a level are kept."""

ENDS: Final = (State.COMPLETED, State.FAILED, State.TIMED_OUT, State.CANCELLED)
"""The final states, in the order of their numbers in a row. The last number is that of retried attempts."""

RETRIED: Final = len(ENDS)

MARKS: Final = b"\xff"
"""The key of the row with the marks."""

Marks = tuple[int, int, int, int]
"""By level, the time up to which steps of this level are complete, in seconds since the epoch. The first is not used:
the shortest steps are written at once."""

NO_MARKS: Final[Marks] = (0, 0, 0, 0)

REMOVED: Final = len(PERIODS)
"""The level of the sums of the longest steps that were removed."""

_HASH: Final = 8
_KEY: Final = struct.Struct(f">BI{_HASH}s")
_HEAD: Final = struct.Struct(">BI")
_LAST: Final = 2**32 - 1
_PACK = msgpack.Packer(autoreset=True).pack


class Range(NamedTuple):
    """Steps of one level that follow each other."""

    level: int
    start: int
    """Seconds since the epoch."""
    stop: int | None
    """The end of the last step; None: all from `start` on."""


def name_hash(name: str) -> bytes:
    """What stands for a name in keys."""
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=_HASH).digest()


def floor(at: float, level: int) -> int:
    """The beginning of the step that a time lies in, in seconds since the epoch."""
    return int(at // PERIODS[level]) * PERIODS[level]


def step_key(level: int, start: int, name: bytes) -> bytes:
    """The key of the step that begins at `start`, of the name with this hash."""
    return _KEY.pack(level, min(max(0, start // PERIODS[level]), _LAST), name)


def first_key(level: int, start: int | None) -> bytes:
    """A key below those of all steps from `start` on; None: above all of this level."""
    if start is None:
        return bytes((level + 1,))
    return _HEAD.pack(level, min(max(0, start // PERIODS[level]), _LAST))


def sum_key(name: bytes) -> bytes:
    """The key of the sum of all removed steps, of the name with this hash."""
    return _KEY.pack(REMOVED, 0, name)


def all_sums() -> tuple[bytes, bytes]:
    """The range of these sums."""
    return bytes((REMOVED,)), bytes((REMOVED + 1,))


def step_in(key: bytes) -> tuple[int, int, bytes]:
    """The level, the beginning and the hash of the name of a row; ValueError."""
    try:
        level, number, name = _KEY.unpack(key)
        return level, number * PERIODS[level], name
    except (struct.error, IndexError) as error:
        raise ValueError(f"not the key of a step: {error}") from error


def pack_marks(marks: Marks) -> bytes:
    """The value of the row MARKS."""
    packed: bytes = msgpack.packb(marks[1:])
    return packed


def unpack_marks(row: bytes | None) -> Marks:
    """The marks. A damaged row counts as none: sums are made anew from the steps that are there."""
    try:
        if row is not None:
            one, two, three = msgpack.unpackb(row)
            if all(type(mark) is int and mark >= 0 for mark in (one, two, three)):
                return 0, one, two, three
    except (ValueError, TypeError, msgpack.UnpackException):
        pass
    return NO_MARKS


def level_for(age: float) -> int:
    """The shortest steps that reach back so many seconds."""
    return next((level for level, kept in enumerate(KEPT) if age <= kept), len(KEPT) - 1)


def cover(start: float, now: float, marks: Marks) -> Iterator[Range]:
    """The steps of a window from `start` on, each time once, from the oldest to the newest.

    The window begins with the step that `start` lies in, of the shortest steps that reach back so far.
    """
    at = floor(start, level_for(now - start))
    while at < marks[1]:
        level = max(
            (level for level in (3, 2, 1) if at % PERIODS[level] == 0 and at < marks[level]), default=0
        )
        # Up to where a longer step may begin, or this level's sums end.
        stop = marks[level] if level else marks[1]
        if level < 3:
            longer = next((each for each in range(level + 1, 4) if at < marks[each]), None)
            if longer is not None:
                stop = min(stop, at - at % PERIODS[longer] + PERIODS[longer])
        yield Range(level, at, stop)
        at = stop
    yield Range(0, at, None)


@dataclass(slots=True)
class Step:
    """What ended in a step, of one name."""

    name: str
    ended: list[int] = field(default_factory=lambda: [0] * (len(ENDS) + 1))
    """How many tasks have ended in each state of ENDS, and how many attempts were retried."""
    waits: Counted = field(default_factory=Counter)
    """Of attempts that ran to their end: from the time at which they could begin until they began."""
    runs: Counted = field(default_factory=Counter)
    """Of the same attempts: from their beginning to their end."""

    def add(self, other: Step) -> None:
        """Add what ended in another step."""
        self.ended = [one + two for one, two in zip(self.ended, other.ended, strict=True)]
        self.waits.update(other.waits)
        self.runs.update(other.runs)

    def pack(self) -> bytes:
        """The row's value."""
        packed: bytes = _PACK(
            (self.name.encode(errors="surrogatepass"), self.ended, *pack(self.waits), *pack(self.runs))
        )
        return packed

    @classmethod
    def unpack(cls, row: bytes) -> Step:
        """The step of a row; ValueError for a damaged one."""
        try:
            name, ended, *times = msgpack.unpackb(row)
            if len(ended) != len(ENDS) + 1 or not all(type(number) is int for number in ended):
                raise ValueError("numbers of the wrong kind")
            waits, wait_numbers, runs, run_numbers = times
            return cls(
                name.decode(errors="surrogatepass"),
                ended,
                unpack(waits, wait_numbers),
                unpack(runs, run_numbers),
            )
        except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
            raise ValueError(f"not the row of a step: {error}") from error

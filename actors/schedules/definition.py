"""`Definition`: when a schedule is due, and what happens to occurrences that cannot run as they should. Pure."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, Self

from ..checks import check_choice, check_names, check_seconds, check_whole, is_number
from ..errors import InvalidOption
from . import cron as crons
from .cron import LATEST

Missed = Literal["once", "skip", "all"]
Overlap = Literal["skip", "queue", "allow", "cancel"]

#: Bytes of a key, as UTF-8.
KEY_LIMIT: Final = 400
#: The longest interval or delay, in seconds: ten years.
LONGEST: Final = 10 * 366 * 86_400.0
#: The shortest interval.
SHORTEST: Final = 1.0
#: The longest jitter: a day.
MOST_JITTER: Final = 86_400.0
#: Times that one preview gives, and runs that one backfill starts.
MOST_TIMES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Definition:
    """The options of a schedule. Exactly one of cron, every, at and after is given. Seconds are floats."""

    cron: str | None = None
    """A cron expression."""
    tz: str | None = None
    """The time zone of the expression; None for UTC."""
    every: float | None = None
    """Seconds from one occurrence to the next, counted from the registration or from `start`."""
    at: float | None = None
    """The only time, in seconds since the epoch."""
    after: float | None = None
    """Seconds from the registration to the only time."""
    missed: Missed = "once"
    """What to do with occurrences that passed while no supervisor was there: run the last one, none or all."""
    missed_within: float = 86_400.0
    """Seconds after which a missed occurrence is skipped, whatever `missed` says."""
    overlap: Overlap = "skip"
    """What to do with an occurrence while a run of the schedule has not ended."""
    jitter: float = 0.0
    """Each run begins up to so many seconds late, by a time that its key and its occurrence decide."""
    start: float | None = None
    """No occurrence is before this time."""
    end: float | None = None
    """No occurrence is after this time."""
    limit: int | None = None
    """Runs after which the schedule has ended."""
    pause_after: int | None = None
    """Failed runs in a row after which the schedule is paused."""

    @classmethod
    def of(cls, **options: Any) -> Self:
        """The checked options; None stands for the default. InvalidOption names the field and what it takes."""
        check_names(options, NAMES, "a schedule")
        given = {name: value for name, value in options.items() if value is not None}
        kinds = [name for name in ("cron", "every", "at", "after") if name in given]
        if len(kinds) != 1:
            raise InvalidOption(
                f"a schedule takes exactly one of cron=, every=, at= and after=: {' and '.join(kinds) or 'none'} given"
            )
        (kind,) = kinds
        if kind != "cron" and "tz" in given:
            raise InvalidOption(f"tz= is for cron=: {kind}= has no time zone")
        if kind in ("at", "after"):
            for name in ("start", "end", "limit", "pause_after"):
                if name in given:
                    raise InvalidOption(f"{name}= is for cron= and every=: {kind}= is due once")
        if kind == "every":
            given["every"] = check_seconds("every", given["every"], LONGEST, least=SHORTEST)
        if kind == "after":
            given["after"] = check_seconds("after", given["after"], LONGEST)
        for name in ("at", "start", "end"):
            if name in given:
                given[name] = check_time(name, given[name])
        check_choice("missed", given.setdefault("missed", "once"), ("once", "skip", "all"))
        check_choice("overlap", given.setdefault("overlap", "skip"), ("skip", "queue", "allow", "cancel"))
        if "missed_within" in given:
            given["missed_within"] = check_seconds("missed_within", given["missed_within"], LONGEST)
        if "jitter" in given:
            most = min(MOST_JITTER, given["every"]) if kind == "every" else MOST_JITTER
            given["jitter"] = check_seconds("jitter", given["jitter"], most)
        for name in ("limit", "pause_after"):
            if name in given:
                check_whole(name, given[name], 1, 1 << 31)
        made = cls(**given)
        if made.end is not None and made.end < (made.start or 0.0):
            raise InvalidOption("end must not be before start: the schedule would never be due")
        if made.cron is not None:
            crons.cron(made.cron, made.tz or "UTC")
            if made.start is not None and made.next_after(0.0, 0.0) is None:
                raise InvalidOption(
                    f"cron expression {made.cron!r:.250} never matches between start and end: move one of them"
                )
        return made

    @property
    def is_single(self) -> bool:
        """Whether it is due only once."""
        return self.at is not None or self.after is not None

    def timing(self) -> tuple[Any, ...]:
        """What decides when it is due. Definitions with the same timing have the same times."""
        return (self.cron, self.tz or "UTC", self.every, self.at, self.after, self.start, self.end)

    def first(self, now: float) -> float | None:
        """The first occurrence of a schedule that is registered now; None if there is none any more."""
        return self.at if self.at is not None else self.next_after(now, now)

    def next_after(self, after: float, anchor: float) -> float | None:
        """The first occurrence after this time; None if there is none. `anchor`: when it was registered."""
        due: float | None
        if self.cron is not None:
            if self.start is not None and after < self.start:
                after = math.nextafter(self.start, -math.inf)
            due = crons.next_after(self.cron, self.tz or "UTC", after)
        elif self.every is not None:
            if self.start is None:
                due = _next_interval(self.every, anchor, after, 1)
            else:
                due = _next_interval(self.every, self.start, after, 0)
        else:
            due = self.at if self.at is not None else anchor + (self.after or 0.0)
            due = due if due > after else None
        return None if due is None or due >= LATEST or (self.end is not None and due > self.end) else due

    def times(self, after: float, anchor: float) -> Iterator[float]:
        """All occurrences after this time, in their order."""
        due: float | None = after
        while due is not None and (due := self.next_after(due, anchor)) is not None:
            yield due

    def begin(self, key: str, at: float, anchor: float) -> float:
        """When the run of this occurrence begins: with `jitter`, later than the occurrence, but before the next one."""
        if not self.jitter:
            return at
        digest = hashlib.blake2b(key.encode() + struct.pack(">d", at), digest_size=8).digest()
        late = self.jitter * int.from_bytes(digest, "big") / 2**64
        following = self.next_after(at, anchor)
        return at + (late if following is None else min(late, following - at))

    def explain(self) -> str:
        """It in a few words."""
        if self.cron is not None:
            return f"{crons.cron(self.cron, self.tz or 'UTC').explain()}, {self.tz or 'UTC'}"
        if self.every is not None:
            return f"every {self.every:g} s"
        return "once"

    def pack(self) -> dict[str, Any]:
        """The fields that differ from the defaults, as plain data."""
        return {name: value for name in NAMES if (value := getattr(self, name)) != _DEFAULTS[name]}

    @staticmethod
    def unpack(packed: dict[str, Any]) -> Definition:
        """The inverse of `pack`. Fields of a later release are left out. Many schedules have the same one."""
        return _unpacked(*packed.items())


def check_key(key: object) -> str:
    """The key of a schedule; InvalidOption if it cannot be one."""
    if isinstance(key, str) and key.isprintable():
        try:
            if 0 < len(key.encode()) <= KEY_LIMIT:
                return key
        except UnicodeEncodeError:
            pass
    raise InvalidOption(f"the key of a schedule is printable text of 1 to {KEY_LIMIT} bytes: {key!r:.80}")


def check_time(name: str, value: object) -> float:
    """A time in seconds since the epoch, given as such or as a datetime with a time zone."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.timestamp()
    if not is_number(value) or not 0 <= value < LATEST:
        raise InvalidOption(
            f"{name} must be seconds since the epoch or a datetime with a time zone: {value!r:.80}"
        )
    return float(value)


def _next_interval(every: float, base: float, after: float, least: int) -> float:
    """The first multiple of the interval after this time, from the `least` one on; to the microsecond."""
    number = max(least, math.floor((after - base) / every))
    while (due := round(base + number * every, 6)) <= after:
        number += 1
    return due


@lru_cache(1_000)
def _unpacked(*packed: tuple[str, Any]) -> Definition:
    return Definition(**{name: value for name, value in packed if name in _DEFAULTS})


NAMES: Final = tuple(field.name for field in fields(Definition))
_DEFAULTS: Final = {field.name: field.default for field in fields(Definition)}

"""`Cron`: a cron expression in a time zone, and when it is due. Pure.

The library cronsim reads the expression and finds the times that match it on a calendar without a zone. What the clocks
of the zone do between two of them is decided here, as Debian's cron does it:

* An expression with a fixed hour and minute is due once on each day that it names. A time that the clocks skip is due
  right after the skip, and a time that they show twice is due the first time.
* An expression whose minute or hour begins with `*` follows real time. It is due whenever the clocks show a time that
  matches, so not in a skipped hour, and twice in a doubled one.
"""

from __future__ import annotations

import copy
import functools
import math
from datetime import datetime, timedelta
from datetime import tzinfo as TimeZone
from typing import Any, Final

from ..errors import InvalidOption

#: Characters of an expression.
LIMIT: Final = 250
#: Seconds since the epoch that no occurrence reaches: the year 9999.
LATEST: Final = 253_000_000_000.0
#: The names for expressions.
NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
#: What a field may hold, in the words of cronsim's errors.
_FIELDS: Final = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L for the last one, or LW for the last from Monday to Friday",
    "month": "1-12 or jan-dec",
    "day-of-week": "0-7 or sun-sat, 5L for the last Friday, mon#2 for the second Monday",
}

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - the calendar here has no zone
_SECOND: Final = timedelta(seconds=1)
#: Seconds between two looks for a change of the zone's offset. Zones do not change twice within an hour.
_STEP: Final = 3_600
#: Seconds for which a change is looked for at both ends of a long wait. No change moves clocks by more than 26 hours.
_WINDOW: Final = 2 * 86_400


class Cron:
    """An expression in a zone. Raises InvalidOption if one of them is not valid, or if the expression never matches."""

    def __init__(self, expression: str, tz: str = "UTC") -> None:
        self.expression = expression
        self.tz = tz
        self._zone = None if tz == "UTC" else zone(tz)
        self._matches = _parsed(expression)
        _, minute, hour, *_ = self._matches.parts
        self._is_fixed = not (minute.startswith("*") or hour.startswith("*"))
        if self._next_match(0) is None:
            raise InvalidOption(
                f"cron expression {expression!r} never matches: no date of the next 50 years fits its days and months"
            )

    def __repr__(self) -> str:
        return f"<cron {self.expression} in {self.tz}>"

    def next_after(self, after: float) -> float | None:
        """The first time after this one at which it is due, in seconds since the epoch; None if there is none."""
        if after >= LATEST:
            return None
        start = math.floor(max(after, 0.0))
        if self._zone is None:
            due = self._next_match(start)
        elif self._is_fixed:
            due = self._next_fixed(self._zone, start)
        else:
            due = self._next_real(self._zone, start)
        return None if due is None or due >= LATEST else float(due)

    def explain(self) -> str:
        """The expression in English."""
        text: str = self._matches.explain()
        return text

    def _next_match(self, local: int) -> int | None:
        """The first match after this time of a calendar without a zone; in seconds, as all times here."""
        matches = copy.copy(self._matches)  # a `Cron` has no state: threads share it
        matches.dt = _EPOCH + timedelta(seconds=local)
        try:
            return int((next(matches) - _EPOCH) // _SECOND)
        except (StopIteration, OverflowError):
            return None

    def _next_fixed(self, zone: TimeZone, start: int) -> int | None:
        local: int | None = start + _offset(zone, start)
        while local is not None and (local := self._next_match(local)) is not None:
            due = _instant(zone, local)
            if due > start:
                return due
        return None

    def _next_real(self, zone: TimeZone, start: int) -> int | None:
        # Nothing up to `at` is wanted, and the clocks have the offset of `since`.
        at = since = start
        while (local := self._next_match(at + (offset := _offset(zone, since)))) is not None:
            due = local - offset
            is_far = due - at > 2 * _WINDOW
            change = _first_change(zone, since, at + _WINDOW if is_far else due)
            if change is not None:
                at, since = change - 1, change
            elif is_far:
                # Whatever the clocks show between the two windows is between `at` and the match on the calendar.
                at = since = due - _WINDOW
            else:
                return due
        return None


@functools.lru_cache(1_000)
def cron(expression: str, tz: str) -> Cron:
    """The expression in a zone; the same object for the same text."""
    return Cron(expression, tz)


@functools.lru_cache(10_000)
def next_after(expression: str, tz: str, after: float) -> float | None:
    """As `Cron.next_after`. Many schedules have the same expression and are due at the same time."""
    return cron(expression, tz).next_after(after)


@functools.lru_cache(1_000)
def zone(name: object) -> TimeZone:
    """The time zone of this name; InvalidOption if there is none."""
    import zoneinfo

    try:
        if isinstance(name, str):
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    from ..qualified_names import suggestion

    hint = suggestion(name, sorted(zoneinfo.available_timezones())) if isinstance(name, str) else ""
    raise InvalidOption(
        f"tz: there is no time zone {name!r:.80}.{hint} Give the name of one, as Europe/Zurich or UTC"
    )


def _parsed(expression: object) -> Any:
    from cronsim import CronSim, CronSimError

    if not isinstance(expression, str) or not 0 < len(expression) <= LIMIT:
        raise InvalidOption(f"a cron expression is text of 1 to {LIMIT} characters: {expression!r:.80}")
    text = expression.strip()
    if text.startswith("@"):
        if text.lower() not in NAMED:
            raise InvalidOption(
                f"there is no cron expression {expression!r:.80}; those with a name are {', '.join(NAMED)}"
            )
        text = NAMED[text.lower()]
    if len(text.split()) not in (5, 6):
        raise InvalidOption(
            f"cron expression {expression!r:.80} has {len(text.split())} fields. Write five: minute, hour, day of "
            "month, month, day of week; or six with the second before them"
        )
    try:
        return CronSim(text, _EPOCH)
    except (CronSimError, AssertionError, ValueError, LookupError, TypeError) as error:
        field = str(error).removeprefix("Bad ")
        if field == "day-of-month" and _is_valid(text.split()[-3]):
            raise InvalidOption(
                f"cron expression {expression!r:.250} never matches: its months have no such day. Change the "
                "day-of-month or the month, or write L for the last day of a month"
            ) from None
        raise InvalidOption(
            f"cron expression {expression!r:.250}: the field {field} is not valid; it takes "
            f"{_FIELDS.get(field, 'numbers and names')}, and of them lists (1,3), ranges (1-5) and steps (*/2)"
        ) from None


def _is_valid(days: str) -> bool:
    """Whether some month has these days."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(f"0 0 {days} * *", _EPOCH)
    except (CronSimError, AssertionError, ValueError, LookupError, TypeError):
        return False
    return True


def _offset(zone: TimeZone, instant: int) -> int:
    """Seconds by which the zone's clocks are ahead of UTC."""
    ahead = datetime.fromtimestamp(instant, zone).utcoffset()
    assert ahead is not None
    return ahead // _SECOND


def _instant(zone: TimeZone, local: int) -> int:
    """When the zone's clocks show this time first; if they skip it, when they have skipped it."""
    shown = (_EPOCH + timedelta(seconds=local)).replace(tzinfo=zone)
    first = math.floor(shown.timestamp())
    offset = _offset(zone, first)
    if first + offset == local:
        return first
    # The offset before the skip has led behind it, and the one after it leads before it.
    before = math.floor(shown.replace(fold=1).timestamp())
    return _first_change(zone, before, first) or first


def _first_change(zone: TimeZone, since: int, end: int) -> int | None:
    """The first instant after `since`, up to `end`, at which the zone's offset is another one."""
    offset, low = _offset(zone, since), since
    while low < end:
        high = min(low + _STEP, end)
        if _offset(zone, high) == offset:
            low = high
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, middle) == offset:
                low = middle
            else:
                high = middle
        return high
    return None

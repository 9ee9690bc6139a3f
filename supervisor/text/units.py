"""Parsers and formatters of durations, sizes and times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?")


def parse_duration(text: str) -> float:
    """Seconds from "90", "1.5", "10m" or "1h30m". ValueError tells the right form."""
    clean = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", clean):
        return float(clean)
    if not _DURATION.fullmatch(clean):
        raise ValueError(
            f"{text!r} is not a duration; write seconds, or a number with a unit: 90, 10m, 1h30m, 2d"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(clean))


def parse_size(text: str) -> int:
    """Bytes from "1048576", "512M" or "1.5GiB". Units are powers of 1,024. ValueError."""
    match = _SIZE.fullmatch(text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is not a size; write bytes, or a number with a unit: 1048576, 512M, 1.5G")
    return int(float(match[1]) * _BYTES[match[2]])


def parse_moment(text: str) -> float:
    """Seconds since the epoch, from such a number or an ISO time, local without a zone. ValueError."""
    if re.fullmatch(r"\d{9,}(\.\d+)?", text.strip()):
        return float(text)
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is not a time; write it as 2030-01-31T08:00 (local time) or 2030-01-31T08:00+00:00"
        ) from None


def duration(seconds: float) -> str:
    """A duration in at most two units: 120ms, 3.4s, 5m12s, 3h05m, 2d03h. Rounded down, as clocks are.

    So the longer one of two durations is never shown as the shorter one.
    """
    # 1.2 seconds may be a little less as a float.
    thousandths = int(max(seconds, 0.0) * 1000 + 1e-3)
    if thousandths < 1000:
        return f"{thousandths}ms"
    if thousandths < 10_000:
        return f"{thousandths // 100 / 10:.1f}s"
    whole = thousandths // 1000
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def age(seconds: float) -> str:
    """A duration in one unit: 3s, 5m, 3h, 2d."""
    whole = int(max(seconds, 0.0))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= size:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def size(count: float) -> str:
    """Bytes in a suitable unit: 512 B, 1.5 KiB, 64.0 MiB."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1023.95:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def iso(at: float | None) -> str | None:
    """A time for programs: ISO 8601 in UTC, to the millisecond."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def local(at: float) -> str:
    """A time for people: local, to the second."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(at: float, now: float) -> str:
    """The local time of day to the millisecond, with the date if it is not today."""
    moment, today = (datetime.fromtimestamp(time, UTC).astimezone() for time in (at, now))
    text = f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"
    return text if moment.date() == today.date() else f"{moment:%Y-%m-%d} {text}"

"""Rendering: templates, and text that cannot become anything else in a page."""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...text import escape, units, value_json

FOLDER: Final = Path(__file__).parent
STATIC: Final = FOLDER / "static"

SHOWN: Final = 20_000
"""Characters of one value on a page."""

#: Between a number and its unit, and between a unit and the next number.
_WORD: Final = re.compile(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)")


def visible(value: Any) -> Any:
    """Text of which every character is seen: control characters, overrides and surrogates are written as escapes."""
    if isinstance(value, Markup) or not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        char
        if char.isprintable() or char in "\n\t"
        else ""
        if char == "\r"
        else char.encode("unicode_escape").decode("ascii")
        for char in value
    )


def as_json(value: Any) -> str:
    """A value as the command line shows it, cut after 20,000 characters."""
    text = value_json.dumps(value, indent=True)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\n… and {len(text) - SHOWN:,} more characters"


def short_json(value: Any, most: int = 160) -> str:
    """A value on one line, cut."""
    text = escape.one_line(value_json.dumps(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def stamp(at: float | None, how: str = "ago") -> Markup:
    """A time: exact and in UTC in the page's source. The browser shows it relative, or in its own zone."""
    if at is None or not math.isfinite(at):
        return Markup('<span class="none">–</span>')
    moment = _moment(at)
    if moment is None:
        return Markup("<span>{}</span>").format(f"{at:g}")
    iso = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" data-how="{}">{}</time>').format(
        iso, how, f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    )


def _moment(at: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def duration(seconds: float | None) -> str:
    """A duration in at most two units: 120 ms, 3.4 s, 5 m 12 s, 3 h 05 m, 2 d 03 h."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if 0 < seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return _WORD.sub(" ", units.duration(seconds))


def size(count: float | None) -> str:
    """Bytes in a suitable unit."""
    return "–" if count is None else units.size(count)


def number(value: float | None, digits: int = 0) -> str:
    """A number with separators."""
    return "–" if value is None else f"{value:,.{digits}f}"


def rate(value: float) -> str:
    """A number each second, with as many digits as tell something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.3g}"


def bare(task: str) -> str:
    """The name of a task without its module."""
    return task.rpartition(":")[2] or task


def plural(count: int, noun: str, many: str = "") -> str:
    """ "1 task", "2,000 tasks"."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates."""
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible,
        auto_reload=False,
    )
    made.filters.update(
        json=as_json,
        short=short_json,
        stamp=stamp,
        duration=duration,
        size=size,
        number=number,
        rate=rate,
        bare=bare,
    )
    made.globals.update(plural=plural, static_version=_static_version())
    return made


def _static_version() -> str:
    """Changes with every static file, so that browsers may keep them."""
    digest = hashlib.sha256()
    for file in sorted(STATIC.rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def render(template: str, **data: Any) -> str:
    """A page as HTML."""
    return environment().get_template(template).render(data)

"""Limits: what each of them does just now, and its numbers."""

from __future__ import annotations

from typing import Any, Final

from ....actors.errors import InvalidOption, UnderstudyError
from ....actors.task.limit import Rate
from .page import ACT, ANSWER, Asked, Done, Page

LISTED: Final = 500
"""Limits, or keys of limits, that are shown."""

NONE: Final = "none"
"""What a field takes for "no limit"."""


def page(asked: Asked) -> Page:
    """All limits. Only the supervisor knows what they let through."""
    found: list[Any] = []
    why = ""
    try:
        found = asked.runtime.limits(timeout=ANSWER)
    except (UnderstudyError, TimeoutError) as error:
        why = str(error)
    return Page(
        "limits.html",
        "Limits",
        {
            "limits": found[:LISTED],
            "more": max(0, len(found) - LISTED),
            "names": sorted({each.name for each in found}),
            "why": why,
        },
    )


def change(asked: Asked) -> Done:
    """Set numbers of a limit, or go back to the declared ones."""
    name = asked.field("name")
    if asked.field("reset") == "on":
        asked.runtime.set_limit(name, timeout=ACT)
        return Done(asked.link("/limits"), f"{name} has the numbers that the app declares.")
    numbers: dict[str, Any] = {}
    if text := asked.field("concurrency").strip():
        numbers["concurrency"] = None if text == NONE else _whole(text)
    if text := asked.field("rate").strip():
        numbers["rate"] = None if text == NONE else Rate.of(text)
    if not numbers:
        raise InvalidOption("give a number of attempts at once, a rate, or both. Nothing was changed.")
    asked.runtime.set_limit(name, **numbers, timeout=ACT)
    return Done(asked.link("/limits"), f"{name} has these numbers now.")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidOption(f'attempts at once are a whole number or "{NONE}", not {text!r:.80}') from None

"""Schedules: their next times, what became of each time, and what can be done with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ....actors.errors import InvalidOption
from ....actors.schedules.definition import Definition
from .page import ACT, Asked, Done, Page

LISTED: Final = 200
HISTORY: Final = 100
NEXT: Final = 10


def page(asked: Asked) -> Page:
    """All schedules, by key."""
    state: Any = asked.text("state") or None
    found = asked.runtime.schedules(state=state, limit=LISTED + 1, after=asked.text("after") or None)
    return Page(
        "schedules.html",
        "Schedules",
        {
            "schedules": found[:LISTED],
            "more": found[LISTED - 1].key if len(found) > LISTED else None,
            "state": state or "",
            "timing": timing,
        },
    )


def one(asked: Asked) -> Page:
    """One schedule."""
    key = asked.path["key"]
    info = asked.runtime.schedule_info(key)
    return Page(
        "schedule.html",
        f"Schedule {key}",
        {
            "schedule": info,
            "times": asked.runtime.next_times(key, NEXT),
            "history": asked.runtime.schedule_history(key, limit=HISTORY),
            "timing": timing,
        },
    )


def timing(definition: Definition) -> str:
    """When it is due, in words."""
    if definition.cron is not None:
        return f"cron {definition.cron} {definition.tz or 'UTC'}"
    if definition.every is not None:
        return f"every {definition.every:g} s"
    return "once"


def _there(asked: Asked, say: str) -> Done:
    return Done(asked.link(f"/schedules/{escaped(asked.path['key'])}"), say)


def escaped(key: str) -> str:
    """A key as a part of an address."""
    from urllib.parse import quote

    return quote(key, safe="")


def pause(asked: Asked) -> Done:
    """Pause it."""
    asked.runtime.pause_schedule(asked.path["key"], timeout=ACT)
    return _there(asked, "It is paused: occurrences are skipped until it is resumed.")


def resume(asked: Asked) -> Done:
    """Resume it."""
    asked.runtime.resume_schedule(asked.path["key"], timeout=ACT)
    return _there(asked, "It is active again.")


def run(asked: Asked) -> Done:
    """A run now."""
    id = asked.runtime.run_schedule(asked.path["key"], timeout=ACT)
    return Done(asked.link(f"/tasks/{id}"), "This run was asked for.")


def cancel(asked: Asked) -> Done:
    """End it."""
    ended = asked.runtime.cancel_schedule(asked.path["key"], timeout=ACT)
    return _there(asked, "It has ended." if ended else "It had ended already.")


def backfill(asked: Asked) -> Done:
    """A run for each past occurrence that has none."""
    runs = asked.runtime.backfill(asked.path["key"], _time(asked, "start"), _time(asked, "end"), timeout=ACT)
    return _there(asked, f"{len(runs)} runs were made.")


def _time(asked: Asked, field: str) -> datetime:
    text = asked.field(field)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidOption(f"{field} is a time such as 2026-03-01T09:30, not {text!r:.80}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

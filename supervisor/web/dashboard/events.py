"""Events with the runs that handle them, those that nobody handled, and replays."""

from __future__ import annotations

from typing import Any, Final

from ....actors.errors import TaskNotFound
from .page import ACT, Asked, Done, Page

LISTED: Final = 50


def page(asked: Asked) -> Page:
    """The newest events."""
    name = asked.text("name").strip() or None
    unmatched = asked.text("unmatched") == "1"
    found = asked.runtime.events(
        name=name, unmatched=unmatched, limit=LISTED, before=asked.text("before") or None
    )
    return Page(
        "events.html",
        "Events",
        {"events": found, "name": name or "", "unmatched": unmatched, "first": not asked.text("before")},
    )


def one(asked: Asked) -> Page:
    """One event."""
    event = asked.runtime.event(asked.path["id"])
    return Page(
        "event.html",
        f"Event {event.name}",
        {"event": event, "runs": [(handler, id, _record(asked, id)) for handler, id in event.runs]},
    )


def _record(asked: Asked, id: str) -> Any:
    try:
        return asked.runtime.status(id)
    except TaskNotFound:
        return None


def replay(asked: Asked) -> Done:
    """Run its handlers again, or one of them."""
    from .schedules import escaped

    id = asked.path["id"]
    made = asked.runtime.replay(id, handler=asked.field("handler") or None, timeout=ACT)
    said = f"{len(made.runs)} runs were made." if made.runs else "No handler matches it."
    return Done(asked.link(f"/events/{escaped(id)}"), said)

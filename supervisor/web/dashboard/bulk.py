"""Cancels and retries of all tasks that fit a query: first a dry run, then what matched then."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ....actors.errors import InvalidOption
from .page import Asked, Done, Page

SAMPLE: Final = 10
TYPED: Final = 100
"""Above so many tasks their number has to be typed."""

_ACTIONS: Final = {"cancel": "cancelled", "retry": "retried"}
_WAIT: Final = 600.0


def page(asked: Asked) -> Page:
    """The dry run: how many tasks would be touched, and some of them."""
    query, do = asked.text("q").strip(), asked.text("do", "cancel")
    if do not in _ACTIONS:
        raise InvalidOption("do is cancel or retry")
    data: dict[str, Any] = {
        "query": query,
        "do": do,
        "count": None,
        "sample": [],
        "typed": TYPED,
        "until": "",
    }
    if query:
        until = datetime.now(UTC).isoformat(timespec="milliseconds")
        bounded = _bounded(query, until)
        data["until"] = until
        data["count"] = _do(asked, do, bounded, dry_run=True)
        wanted = "state:failed,timed_out" if do == "retry" and "state:" not in query else ""
        if do == "cancel":
            wanted = "-state:completed,failed,timed_out,cancelled"
        data["sample"] = asked.runtime.search(f"{bounded} {wanted}".strip(), limit=SAMPLE)
    return Page("bulk.html", "Many tasks", data, still=True)


def apply(asked: Asked) -> Done:
    """Touch those that were there at the dry run."""
    query, do, until = asked.field("q").strip(), asked.field("do"), asked.field("until")
    if do not in _ACTIONS or not query or not until:
        raise InvalidOption("make a dry run first")
    bounded = _bounded(query, until)
    count = _do(asked, do, bounded, dry_run=True)
    if count > TYPED and asked.field("count").replace(",", "").strip() != str(count):
        raise InvalidOption(f"type the number of tasks, {count}, to confirm. Nothing was changed.")
    done = _do(asked, do, bounded, dry_run=False)
    return Done(asked.link("/tasks", q=query), f"{done:,} tasks were {_ACTIONS[do]}.")


def _do(asked: Asked, do: str, query: str, *, dry_run: bool) -> int:
    call = asked.runtime.cancel_where if do == "cancel" else asked.runtime.retry_where
    return call(query, dry_run=dry_run, timeout=_WAIT)


def _bounded(query: str, until: str) -> str:
    """The query for tasks that were there at that time."""
    try:
        datetime.fromisoformat(until)
    except ValueError as error:
        raise InvalidOption("make a dry run first") from error
    return f"{query} older:'{until}'"

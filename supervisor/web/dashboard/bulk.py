"""Cancels and retries of all tasks that fit a query: first a dry run, then exactly what matched then."""

from __future__ import annotations

from typing import Any, Final, cast

from ....actors.errors import BulkNotFound, InvalidOption
from ....actors.task.bulk_info import BulkAction
from ..dry_runs import dry_runs
from .page import ACT, Asked, Done, Page

TYPED: Final = 100
"""Above so many tasks their number has to be typed."""

ROWS: Final = 100
LISTED: Final = 20

_ACTIONS: Final = {"cancel": "cancelled", "retry": "retried"}
_WAIT: Final = 600.0


def page(asked: Asked) -> Page:
    """The dry run: how many tasks would be touched, and some of them. Without a query, those that were asked for."""
    query, do = asked.text("q").strip(), asked.text("do", "cancel")
    if do not in _ACTIONS:
        raise InvalidOption("do is cancel or retry")
    data: dict[str, Any] = {
        "query": query,
        "do": do,
        "count": None,
        "sample": [],
        "typed": TYPED,
        "run": "",
        "bulks": asked.runtime.bulks(limit=LISTED, before=asked.text("before") or None),
        "more": None,
    }
    if len(data["bulks"]) == LISTED:
        data["more"] = data["bulks"][-1].id
    if query:
        run = dry_runs.keep(asked.runtime.plan_bulk(cast("BulkAction", do), query, timeout=_WAIT))
        data["count"] = run.count
        data["sample"] = run.sample(asked.runtime)
        data["run"] = run.name if run.count else ""
    return Page("bulk.html", "Many tasks", data, still=bool(query))


def apply(asked: Asked) -> Done:
    """Have those touched that the dry run has found. Sent twice, it leads to the same bulk."""
    name = asked.field("run")
    try:
        run = dry_runs.take(name)
    except BulkNotFound as error:
        try:
            asked.runtime.bulk(name)
        except BulkNotFound:
            raise error from None
        return Done(asked.link(f"/bulk/{name}"), "It was begun before.")
    typed = asked.field("count").replace(",", "").strip()
    if run.count > TYPED and typed != str(run.count):
        raise InvalidOption(f"type the number of tasks, {run.count}, to confirm. Nothing was changed.")
    info = asked.runtime.start_plan(
        run.plan, from_scratch=asked.field("from_scratch") == "1", by=asked.who, timeout=_WAIT
    )
    dry_runs.drop(name)
    return Done(asked.link(f"/bulk/{info.id}"), f"{info.total:,} tasks are being {_ACTIONS[info.action]}.")


def one(asked: Asked) -> Page:
    """How far one is, and what became of each of its tasks."""
    info = asked.runtime.bulk(asked.path["id"])
    text = asked.text("after")
    after = int(text) if text.isdecimal() and len(text) < 9 else 0
    outcomes = asked.runtime.bulk_outcomes(info.id, after=after, limit=ROWS)
    return Page(
        "bulk_job.html",
        f"{info.action.capitalize()} {info.total:,} tasks",
        {
            "bulk": info,
            "outcomes": outcomes,
            "after": after,
            "next": after + ROWS if after + ROWS < info.total else None,
        },
    )


def cancel(asked: Asked) -> Done:
    """Let it touch no further task."""
    changed = asked.runtime.cancel_bulk(asked.path["id"], timeout=ACT)
    say = "No further task will be touched." if changed else "It had ended already."
    return Done(asked.link(f"/bulk/{asked.path['id']}"), say)

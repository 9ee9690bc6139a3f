"""Cancels and retries of all tasks that fit a query: first a dry run, then exactly what matched then.

The dry run keeps the ids in memory for some minutes. Then the supervisor gets them, and works through them.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, cast

from ....actors.errors import InvalidOption, TaskNotFound
from ....actors.ids import id_bytes, id_text
from ....actors.task.bulk_info import BulkAction
from .page import ACT, Asked, Done, Page

SAMPLE: Final = 10
TYPED: Final = 100
"""Above so many tasks their number has to be typed."""

ROWS: Final = 100
KEPT_SECONDS: Final = 900.0
KEPT_BYTES: Final = 32 * 1024 * 1024
"""Bytes of ids of all dry runs together; the oldest go first."""

LISTED: Final = 20

_ACTIONS: Final = {"cancel": "cancelled", "retry": "retried"}
_WAIT: Final = 600.0
_ID: Final = 16


@dataclass(frozen=True, slots=True)
class DryRun:
    """What matched."""

    action: BulkAction
    query: str
    ids: bytes
    made: float

    @property
    def count(self) -> int:
        """How many tasks."""
        return len(self.ids) // _ID

    def each(self, limit: int | None = None) -> list[str]:
        """The tasks as text."""
        end = len(self.ids) if limit is None else limit * _ID
        return [id_text(self.ids[at : at + _ID]) for at in range(0, min(end, len(self.ids)), _ID)]


class DryRuns:
    """The dry runs that may still be applied. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, DryRun] = OrderedDict()

    def keep(self, run: DryRun) -> str:
        """Keep it; its name."""
        name = secrets.token_hex(12)
        with self._lock:
            self._runs[name] = run
            self._forget(time.monotonic())
        return name

    def take(self, name: str) -> DryRun:
        """The one of this name. InvalidOption if its time is over."""
        with self._lock:
            self._forget(time.monotonic())
            run = self._runs.get(name)
        if run is None:
            raise InvalidOption("make a dry run first: that of this page is too old. Nothing was changed.")
        return run

    def drop(self, name: str) -> None:
        """It was applied."""
        with self._lock:
            self._runs.pop(name, None)

    def _forget(self, now: float) -> None:
        size = sum(len(run.ids) for run in self._runs.values())
        while self._runs:
            oldest = next(iter(self._runs.values()))
            if size <= KEPT_BYTES and now - oldest.made <= KEPT_SECONDS:
                return
            size -= len(oldest.ids)
            self._runs.popitem(last=False)


dry_runs: Final = DryRuns()


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
        "bulks": asked.runtime.bulks()[:LISTED],
    }
    if query:
        action = cast("BulkAction", do)
        found = asked.runtime.bulk_ids(action, query, timeout=_WAIT)
        run = DryRun(action, query, b"".join(map(id_bytes, found)), time.monotonic())
        data["count"] = run.count
        data["sample"] = _records(asked, run.each(SAMPLE))
        data["run"] = dry_runs.keep(run) if run.count else ""
    return Page("bulk.html", "Many tasks", data, still=bool(query))


def _records(asked: Asked, ids: list[str]) -> list[Any]:
    found = []
    for id in ids:
        try:
            found.append(asked.runtime.status(id))
        except TaskNotFound:
            continue
    return found


def apply(asked: Asked) -> Done:
    """Have those touched that the dry run has found."""
    name = asked.field("run")
    run = dry_runs.take(name)
    typed = asked.field("count").replace(",", "").strip()
    if run.count > TYPED and typed != str(run.count):
        raise InvalidOption(f"type the number of tasks, {run.count}, to confirm. Nothing was changed.")
    info = asked.runtime.start_bulk(run.action, run.query, ids=run.each(), by=asked.who, timeout=_WAIT)
    dry_runs.drop(name)
    return Done(asked.link(f"/bulk/{info.id}"), f"{info.total:,} tasks are being {_ACTIONS[run.action]}.")


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

"""The list of tasks that fit a query, with counts within it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ....actors.errors import InvalidOption, InvalidQuery, TaskNotFound, UnderstudyError
from ....actors.ids import id_bytes, id_text
from ....actors.state import State
from ....actors.task.handles import TaskRecord
from ...client.pages import SearchPage
from ...client.store_look import QUERY_FIELDS
from .overview import quote
from .page import Asked, Page

ROWS: Final = 50
"""Rows of a page."""

MOST_ROWS: Final = 10_000
COUNTED: Final = 1000
"""Tasks that are looked at for the counts within a query."""

LONG: Final = 3.0
"""Seconds that a page of more rows than that may take."""

MOST_NEW: Final = 4 * ROWS
"""New tasks that are counted. They are asked for again with every change of the store."""

_VALUES: Final = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A task in the list."""

    record: TaskRecord
    fits: bool = True
    """Whether it still fits the query. A row that was shown stays where it is."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a field, with the number of tasks that have it and the query that asks for them alone."""

    value: str
    count: int
    query: str
    chosen: bool


def page(asked: Asked) -> Page:
    """The tasks that fit the query in the address."""
    query = asked.text("q").strip()
    limit = _limit(asked)
    data: dict[str, Any] = {
        "query": query,
        "fields": QUERY_FIELDS,
        "states": list(State),
        "mistake": None,
        "rows": [],
        "new": 0,
        "more_new": False,
        "next": None,
        "looked_back_to": None,
        "facets": [],
        "counted": None,
        "live": "",
        "limit": limit,
        "names": [],
        "first": True,
    }
    if _is_id(query):
        query = f"'{query}'"
    try:
        data |= _found(asked, query, limit)
    except InvalidQuery as error:
        data["mistake"] = str(error)
        return Page("tasks.html", "Tasks", data)
    return Page("tasks.html", "Tasks", data)


def _is_id(text: str) -> bool:
    return len(text) == 36 and text.count("-") == 4


def _limit(asked: Asked) -> int:
    text = asked.text("limit")
    return min(max(int(text), 1), MOST_ROWS) if text.isdecimal() and len(text) < 9 else ROWS


def _found(asked: Asked, query: str, limit: int) -> dict[str, Any]:
    after = asked.text("after") or None
    shown = [text for text in asked.text("ids").split(",") if text]
    counts = asked.runtime.counts()
    looked = asked.runtime.search(query, limit=COUNTED) if query else None
    newest, new, more_new = None, 0, False
    if shown:
        rows, new, more_new, cursor, back = _again(asked, query, shown[:MOST_ROWS])
        newest = shown[0]
    else:
        if looked is not None and after is None and limit < COUNTED:
            # One look for both: a search for what is rare takes all its time.
            found, cursor, back = _first_of(looked, limit)
        else:
            found, cursor, back = _searched(asked, query, limit, after)
        rows = [Row(record) for record in found]
    facets, counted = _facets(query, looked, counts)
    ids = ",".join(id_bytes(row.record.id).hex() for row in rows)
    return {
        "rows": rows,
        "new": new,
        "more_new": more_new,
        "next": cursor,
        "looked_back_to": back,
        "facets": facets,
        "counted": counted,
        "names": sorted(counts)[:500],
        "live": asked.link("/tasks", q=query, limit=None if limit == ROWS else limit, after=after, ids=ids)
        if len(rows) <= 200
        else "",
        "newest": newest,
        "first": after is None,
    }


def _searched(
    asked: Asked, query: str, limit: int, after: str | None
) -> tuple[Sequence[TaskRecord], str | None, float | None]:
    """So many tasks, where they go on, and how far back it has looked if its time was over."""
    rows: list[TaskRecord] = []
    until = time.monotonic() + (LONG if limit > COUNTED else 0.0)
    while True:
        found = asked.runtime.search(query, limit=limit - len(rows), after=after)
        rows += found
        after = found.cursor
        if after is None or len(rows) >= limit or time.monotonic() > until:
            return rows, after, found.looked_back_to if found.stopped else None


def _first_of(page: SearchPage, limit: int) -> tuple[Sequence[TaskRecord], str | None, float | None]:
    """The first tasks of a page as `_searched` gives them."""
    if len(page) > limit:
        return page[:limit], page[limit - 1].id, None
    return page, page.cursor, page.looked_back_to if page.stopped else None


def _again(
    asked: Asked, query: str, shown: list[str]
) -> tuple[list[Row], int, bool, str | None, float | None]:
    """The rows that a page shows already, as they are now, and how many new ones there are before them."""
    ids = [_id_of(text) for text in shown]
    first = id_bytes(ids[0])
    above = id_text(min(int.from_bytes(first, "big") + 1, 2**128 - 1).to_bytes(16, "big"))
    fitting = asked.runtime.search(query, limit=max(len(ids), 1), after=above)
    fits = {record.id: record for record in fitting}
    rows = []
    for id in ids:
        if id in fits:
            rows.append(Row(fits[id]))
            continue
        try:
            rows.append(Row(asked.runtime.status(id), fits=False))
        except (TaskNotFound, UnderstudyError):
            continue
    new, more_new = (0, False) if asked.text("after") else _newer(asked, query, first)
    return rows, new, more_new, fitting.cursor, None


def _newer(asked: Asked, query: str, first: bytes) -> tuple[int, bool]:
    """How many tasks that fit are newer than the first one that is shown, and whether there are more than that."""
    count, after = 0, None
    while True:
        found = asked.runtime.search(query, limit=ROWS, after=after)
        new = sum(id_bytes(record.id) > first for record in found)
        count, after = count + new, found.cursor
        if after is None or found.stopped or new < len(found):
            return count, False
        if count >= MOST_NEW:
            return count, True


def _id_of(text: str) -> str:
    """The id that 32 hexadecimal digits are."""
    try:
        return id_text(bytes.fromhex(text))
    except ValueError as error:
        raise InvalidOption("ids= has the ids of the rows that are shown") from error


def _facets(
    query: str, found: SearchPage | None, counts: dict[str, dict[State, int]]
) -> tuple[list[tuple[str, list[FacetValue]]], tuple[int, bool]]:
    """Counts by state, name and error of the tasks that fit; and how many were counted, and whether there are more."""
    states: Counter[str] = Counter()
    names: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    if found is None:
        for name, each in counts.items():
            names[name] += sum(each.values())
            states.update({str(state): number for state, number in each.items()})
        counted = (states.total(), False)
    else:
        for record in found:
            states[str(record.state)] += 1
            names[record.task] += 1
            if record.error is not None:
                failures[record.error.type] += 1
        counted = (len(found), found.cursor is not None)
    made = [("state", states), ("task", names), ("error", failures)]
    return [
        (
            field,
            [
                FacetValue(value, number, *narrowed(query, field, value))
                for value, number in each.most_common(_VALUES)
            ],
        )
        for field, each in made
        if each
    ], counted


def narrowed(query: str, field: str, value: str) -> tuple[str, bool]:
    """The query with this term, or without it if it has it; and whether it has it."""
    term = f"{field}:{value}" if value.replace("_", "").isalnum() else f"{field}:{quote(value)}"
    terms = query.split(" ")
    if term in terms:
        return " ".join(each for each in terms if each != term), True
    return f"{query} {term}".strip(), False

"""Searches and counts of tasks, read from the store."""

from __future__ import annotations

from collections.abc import Callable

from ...actors.checks import check_whole
from ...actors.state import State
from ...actors.task.declaration import registry
from ...storage.query import parse
from ...storage.reader import Reader
from .pages import MAX_LIMIT, SearchPage, end_of, id_in
from .views import view

Counts = dict[str, dict[State, int]]
"""By the name of the tasks, how many are in each state. Zeros are left out."""


def search(
    reader: Reader,
    query: str,
    limit: int,
    after: str | None,
    now: float,
    sees: Callable[[str], bool] | None = None,
) -> SearchPage:
    """One page of the tasks that fit a query. `now` is in seconds since the epoch; `sees` takes the names of tasks that
    may be among them.
    """
    terms = parse(query)
    check_whole("limit", limit, 1, MAX_LIMIT)
    page = reader.search(
        terms,
        limit=limit,
        before=None if after is None else id_in("after", after),
        now=now,
        names_of=parameters_of,
        also=None if sees is None else lambda record: sees(record.name),
    )
    found = tuple(view(record, 0, reader.args) for record in page.records)
    return SearchPage(found, *end_of(page.last, page.stopped))


def parameters_of(task: str) -> list[str]:
    """The names of a task's parameters that may be passed by place, if this process knows the task."""
    declared = registry.get(task)
    return [] if declared is None else list(declared.positional_names)

"""Searches and counts of tasks, read from the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...actors.checks import check_whole
from ...actors.errors import InvalidOption, InvalidValue
from ...actors.ids import id_bytes, id_text
from ...actors.state import State
from ...actors.task.declaration import registry
from ...actors.task.handles import TaskRecord
from ...storage.query import parse
from ...storage.reader import Reader
from .views import view

Counts = dict[str, dict[State, int]]
"""By the name of the tasks, how many are in each state. Zeros are left out."""

MAX_LIMIT = 10_000
"""Tasks of one page."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """The tasks of one page of a search, newest first. It can be iterated over."""

    tasks: tuple[TaskRecord, ...]
    cursor: str | None
    """Pass it as `after` for the next page. None: there is no more."""
    stopped: bool
    """Whether the page stopped because it had taken 50 ms. There may be more, although it has fewer than `limit`."""
    looked_back_to: float | None
    """The time of the oldest task that it has looked at, in seconds since the epoch. None: at the oldest of all."""

    def __iter__(self) -> Iterator[TaskRecord]:
        return iter(self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)


def search(reader: Reader, query: str, limit: int, after: str | None, now: float) -> SearchPage:
    """One page of the tasks that fit a query. `now` is in seconds since the epoch."""
    terms = parse(query)
    check_whole("limit", limit, 1, MAX_LIMIT)
    page = reader.search(
        terms,
        limit=limit,
        before=None if after is None else _cursor(after),
        now=now,
        names_of=_parameters_of,
    )
    return SearchPage(
        tasks=tuple(view(record, 0, reader.args) for record in page.records),
        cursor=None if page.last is None else id_text(page.last),
        stopped=page.stopped,
        looked_back_to=None if page.last is None else int.from_bytes(page.last[:6], "big") / 1000,
    )


def _cursor(after: str) -> bytes:
    try:
        return id_bytes(after)
    except InvalidValue as error:
        raise InvalidOption(f"after is the cursor of a page before, not {after!r:.80}") from error


def _parameters_of(task: str) -> list[str]:
    """The names of a task's parameters that may be passed by place, if this process knows the task."""
    declared = registry.get(task)
    return [] if declared is None else list(declared.positional_names)

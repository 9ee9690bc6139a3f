"""Ends: who follows the ends of tasks. All that follows from an end goes into the commit of that end.

A follower hangs on a fact: a field of records that most of them lack. It is told of the tasks whose record has the
field, so a task that nobody follows costs one look. Clients are told after the commit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...actors.ids import id_text
from ...actors.state import Event
from ..rules.verdict import ErrorRow
from .live_task import LiveTask

log = logging.getLogger("understudy")

Follower = Callable[[LiveTask, Event, ErrorRow | None], None]
"""Called with a task that has ended, by which event, and its error."""


class Ends:
    """The followers of all ends."""

    def __init__(self) -> None:
        #: Those of the ends of all tasks, in the order in which they came.
        self.of_all: tuple[Follower, ...] = ()
        self._of_fact: dict[str, Follower] = {}
        #: The facts that somebody follows, for a quick look at a record.
        self.facts: frozenset[str] = frozenset()
        #: Called after the commit with the tasks that ended in it.
        self.on_disk: Callable[[list[LiveTask]], None] = lambda _: None

    def follow(self, fact: str, follower: Follower) -> None:
        """Tell it of the tasks whose record has this field."""
        self._of_fact[fact] = follower
        self.facts = frozenset(self._of_fact)

    def follow_all(self, follower: Follower, wanted: bool) -> None:
        """Tell it of all tasks, or of none any more."""
        others = tuple(each for each in self.of_all if each != follower)
        self.of_all = (*others, follower) if wanted else others

    def tell(self, task: LiveTask, event: Event, error: ErrorRow | None) -> None:
        """A task has ended. An error of one follower is logged; the end stands, and the others are told."""
        for follower in self.of_all:
            _tell(follower, task, event, error)
        facts = task.record.__dict__
        for fact, follower in self._of_fact.items():
            if fact in facts:
                _tell(follower, task, event, error)

    def written(self, tasks: list[LiveTask]) -> None:
        """The ends of these tasks are on disk."""
        self.on_disk(tasks)


def _tell(follower: Follower, task: LiveTask, event: Event, error: ErrorRow | None) -> None:
    try:
        follower(task, event, error)
    except Exception:
        log.exception("what follows from the end of task %s (%s) failed", task.record.name, id_text(task.id))

"""Subscribers: sends every change of a task's state, and its progress, to subscribed clients, after the commit."""

from __future__ import annotations

import functools
from typing import Any

from ...storage.batch import Batch
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from .client_link import ClientLink


class Subscribers:
    """The subscribed clients. Costs nothing while there are none."""

    def __init__(self, commits: CommitLoop, table: TaskTable) -> None:
        self._commits = commits
        self._table = table
        self._subscribers: set[ClientLink] = set()
        #: The changes in the open batch, and that batch.
        self._changes: list[tuple[Any, ...]] = []
        self._changes_in: Batch | None = None

    def subscribe(
        self, client: ClientLink, request: int, task: str | None, stream: bytes | None, progress: bool
    ) -> None:
        """Send a client all changes from now on, optionally of one task name or one stream; with progress, if asked."""
        client.subscription = (request, task, stream, progress)
        self._subscribers.add(client)
        self._table.on_change = self._changed
        if progress:
            self._table.on_progress = self._progressed

    def unsubscribe(self, client: ClientLink) -> None:
        """Send a client no more changes. Does nothing if it has not subscribed."""
        client.subscription = None
        self._subscribers.discard(client)
        if not self._subscribers:
            self._table.on_change = self._table.on_progress = None

    def _changed(self, task: LiveTask) -> None:
        self._add(task, None)

    def _progressed(self, task: LiveTask) -> None:
        self._add(task, task.record.progress)

    def _add(self, task: LiveTask, progress: tuple[Any, ...] | None) -> None:
        record = task.record
        batch = self._commits.store.batch
        if batch is not self._changes_in:
            self._changes_in, self._changes = batch, []
            self._commits.after_commit(functools.partial(self._tell_changes, self._changes))
        now = self._commits.clock.time()
        self._changes.append(
            (record.id, record.name, record.state, record.attempt, now, record.stream, progress)
        )

    def _tell_changes(self, changes: list[tuple[Any, ...]]) -> None:
        for client in list(self._subscribers):
            if client.subscription is not None:
                _, task, stream, progress = client.subscription
                rows = [
                    row
                    for row in changes
                    if task in (None, row[1]) and stream in (None, row[5]) and (progress or row[6] is None)
                ]
                if rows:
                    client.event(rows)
                    client.flush()

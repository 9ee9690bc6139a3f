"""Waiters: the clients that wait for the ends of tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from ...actors.errors import AppFailed, TaskNotFound
from ...actors.ids import id_text
from ...actors.state import TERMINAL, State
from ...storage.tables.record import HEAD_BYTES, Record, end_of, is_bare, state_of
from ...storage.tables.schema import Table
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from .client_link import ClientLink

Waiter = tuple[ClientLink, int]
"""A client and its request."""


class Waiters:
    """Tells each waiting client of an end exactly once, after its commit."""

    def __init__(self, commits: CommitLoop, table: TaskTable) -> None:
        self._commits = commits
        self._table = table
        #: By task. Nearly all tasks have one waiter, and all tasks of a request share one tuple. A list for
        #: each task would take 90 bytes and be one more object for the garbage collector.
        self._waiting: dict[bytes, tuple[Waiter, ...]] = {}
        table.ends.on_disk = self.ended

    def ask(self, client: ClientLink, request: int, ids: Any, check: Callable[[], None]) -> None:
        """Handle a WAIT for these tasks. `check` is called if some have not ended, and may refuse."""
        asked = set(ids)
        # Tasks in memory are reported after their ends are on disk, even if they have ended already.
        left = asked & self._table.tasks.keys()
        over: list[bytes] = []
        told: list[tuple[Any, ...]] = []
        if len(left) < len(asked):
            known: dict[bytes, tuple[State, bool]] = {}
            for id, row in self._on_disk(asked - left).items():
                # Rows with equal heads have the same state, and both or neither have a value or error.
                head = row[:HEAD_BYTES]
                if head not in known:
                    known[head] = self._state(id, row), is_bare(row)
                state, bare = known[head]
                if state not in TERMINAL:
                    left.add(id)
                elif bare:
                    # The usual case: the final state is all there is to send.
                    told.append((id, state, None, None))
                else:
                    over.append(id)
        self.forget(client, request)
        if told:
            client.ended(request, told)
        # They are read only when the client can take them: there may be many, each with a large value.
        client.ended_before(request, over)
        if not left:
            client.all_ended(request)
            return
        check()
        client.waits[request] = left
        waiting, waiter = self._waiting, ((client, request),)
        for id in left:
            waiting[id] = waiting.get(id, ()) + waiter

    def _on_disk(self, ids: set[bytes]) -> dict[bytes, bytes]:
        rows = self._commits.get_many(Table.TASKS, map(checked_id, ids))
        for id in ids - rows.keys():
            raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
        return rows

    def _state(self, id: bytes, row: bytes) -> State:
        try:
            return state_of(row)
        except ValueError:
            return self._record(id).state

    def _end(self, id: bytes, row: bytes) -> tuple[State, int | None, Any]:
        try:
            return end_of(row)
        except ValueError:
            record = self._record(id)
            return record.state, record.result, record.error

    def _record(self, id: bytes) -> Record:
        """The record of a damaged row: the task table raises the error that names it and the remedy."""
        record = self._table.record(id)
        assert record is not None
        return record

    def ends_of(self, ids: Sequence[bytes], most: int) -> list[tuple[Any, ...]]:
        """The rows of ENDED for tasks whose ends are on disk.

        The first task, and further ones while their values take at most `most` bytes together. Raises TaskNotFound,
        StoreCorrupt.
        """
        rows = self._commits.get_many(Table.TASKS, ids)
        ends: list[tuple[Any, ...]] = []
        size = 0
        for id in ids:
            row = rows.get(id)
            if row is None:
                raise TaskNotFound(f"task {id_text(id)} was removed meanwhile", id_text(id))
            state, result, error = self._end(id, row)
            size += result or 0
            if ends and size > most:
                break
            value = None if result is None else self._commits.get(Table.RESULTS, id)
            ends.append((id, state, value, error))
        return ends

    def forget(self, client: ClientLink, request: int) -> None:
        """Forget a WAIT of a client."""
        for id in client.waits.pop(request, ()):
            others = tuple(who for who in self._waiting.pop(id, ()) if who != (client, request))
            if others:
                self._waiting[id] = others
        client.forget(request)

    def fail(self, client: ClientLink, error: AppFailed) -> None:
        """Refuse all WAITs of a client with an error."""
        for request in list(client.waits):
            self.forget(client, request)
            client.refuse(request, error)
        client.flush()

    def ended(self, tasks: list[LiveTask]) -> None:
        """These tasks' ends are on disk: send them to the waiting clients."""
        told: defaultdict[tuple[ClientLink, int], list[Any]] = defaultdict(list)
        who_waits_for = self._waiting.pop
        for task in tasks:
            waiting = who_waits_for(task.id, None)
            if waiting is not None:
                record = task.record
                row = (record.id, record.state, task.result, record.error)
                for who in waiting:
                    told[who].append(row)
        for (client, request), rows in told.items():
            left = client.waits.get(request)
            if left is None:
                continue
            client.ended(request, rows)
            left.difference_update([row[0] for row in rows])
            if not left:
                del client.waits[request]
                client.all_ended(request)
            client.flush()

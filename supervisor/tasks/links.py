"""Links: tasks that are cancelled when the one that has started them has ended.

A link is a row, written in the commit of the child's start and removed in that of the child's end. The rows of a parent
whose end is on disk say what is left to cancel. So memory holds no links, and a supervisor's death loses none:
`recover` goes on from the rows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from ...actors.errors import UnderstudyError
from ...actors.ids import id_text
from ...storage.tables.link_rows import link_in, link_key, links_of, parents
from ...storage.tables.record import Record
from ...storage.tables.schema import Table
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .task_table import TaskTable

log = logging.getLogger("understudy")

#: Children that are cancelled, and parents that are looked at after a start, in one step between other work.
AT_ONCE: Final = 200


class Links:
    """Those of all tasks."""

    def __init__(self, commits: CommitLoop, table: TaskTable, turn: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._table = table
        #: Asks for a turn of the event loop, in which changes are carried out.
        self._turn = turn
        #: Cancels a task; whether it had not ended.
        self.cancel: Callable[[bytes], bool] = lambda _: False
        #: Parents that have ended, each with the key from which on its links are to be looked at.
        self._over: deque[tuple[bytes, bytes]] = deque()
        self._step: asyncio.Handle | None = None
        self._stopped = False
        table.ends.follow("linked", self._child_ended)
        table.ends.follow("links", self._parent_ended)

    def stop(self) -> None:
        """Cancel nothing any more: the next supervisor does."""
        self._stopped = True
        if self._step is not None:
            self._step.cancel()
            self._step = None

    def recover(self) -> None:
        """At boot, after the tasks: find the parents that have ended under an earlier supervisor."""
        after = b""
        while found := parents(self._commits.scan, after, AT_ONCE):
            for parent in found:
                if self._living(parent) is None:
                    self._go_through(parent)
            after = found[-1]

    def add(self, children: Sequence[Record]) -> None:
        """These new tasks are linked to those that have started them. If one of those has ended, they are cancelled."""
        living = {parent: self._living(parent) for parent in {child.origin for child in children} if parent}
        for child in children:
            origin = child.origin
            assert origin is not None
            parent = living[origin]
            if parent is None:
                self.cancel(child.id)
                continue
            self._commits.put(Table.ACTORS, link_key(parent.id, child.id), b"")
            if not parent.record.links:
                parent.record.links = True
                self._table.touch(parent)

    def _living(self, parent: bytes) -> LiveTask | None:
        """A parent that has not ended. One that cannot be read will never go on, so it counts as ended."""
        try:
            return self._table.find(parent)
        except UnderstudyError:
            log.exception("the tasks that are linked to %s are cancelled", id_text(parent))
            return None

    def _child_ended(self, task: LiveTask, _event: object, _error: object) -> None:
        origin = task.record.origin
        assert origin is not None
        self._commits.delete(Table.ACTORS, link_key(origin, task.id))

    def _parent_ended(self, task: LiveTask, _event: object, _error: object) -> None:
        # After the commit: all of its links are on disk then, and can be read without a look at what is not.
        self._commits.after_commit(partial(self._go_through, task.id))

    # --- cancelling ---

    def _go_through(self, parent: bytes) -> None:
        """Cancel the children of a parent that has ended, some at a time."""
        self._over.append((parent, links_of(parent)[0]))
        if self._step is None and not self._stopped:
            self._step = self._loop.call_soon(self._cancel_some)

    def _cancel_some(self) -> None:
        parent, start = self._over.popleft()
        rows = self._commits.scan(Table.ACTORS, start, links_of(parent)[1], AT_ONCE)
        for key, _ in rows:
            self._cancel(parent, link_in(key)[1])
        if len(rows) == AT_ONCE:
            self._over.appendleft((parent, rows[-1][0] + b"\0"))
        self._step = self._loop.call_soon(self._cancel_some) if self._over else None
        self._turn()

    def _cancel(self, parent: bytes, child: bytes) -> None:
        try:
            self.cancel(child)
        except Exception:
            # It is damaged, or this is a bug. The others are cancelled all the same.
            log.exception("task %s, which is linked to %s, is not cancelled", id_text(child), id_text(parent))

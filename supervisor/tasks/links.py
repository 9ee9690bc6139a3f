"""Links: tasks that are cancelled when the one that has started them has ended.

A link is a row, written in the commit of the child's start and removed in that of the child's end. The rows of a parent
whose end is on disk say what is left to cancel. So memory holds no links, and a supervisor's death loses none:
`recover` goes on from the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ...storage.tables.link_rows import link_in, link_key, links_of, parents
from ...storage.tables.record import Record
from ...storage.tables.schema import Table
from .aftermath import Aftermath
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .task_table import TaskTable

#: Children that are cancelled, and parents that are looked at after a start, in one step between other work.
AT_ONCE: Final = 200


class Links:
    """Those of all tasks."""

    def __init__(self, commits: CommitLoop, table: TaskTable, aftermath: Aftermath) -> None:
        self._commits = commits
        self._table = table
        self._aftermath = aftermath
        table.ends.follow("linked", self._child_ended)
        table.ends.follow("links", self._parent_ended)

    def recover(self) -> None:
        """At boot, after the tasks: find the parents that have ended under an earlier supervisor."""
        after = b""
        while found := parents(self._commits.scan, after, AT_ONCE):
            for parent in found:
                if self._aftermath.living(parent) is None:
                    self._aftermath.begin(self._steps(parent))
            after = found[-1]

    def add(self, children: Sequence[Record]) -> None:
        """These new tasks are linked to those that have started them. If one of those has ended, they are cancelled."""
        living = {
            parent: self._aftermath.living(parent)
            for parent in {child.origin for child in children}
            if parent
        }
        for child in children:
            origin = child.origin
            assert origin is not None
            parent = living[origin]
            if parent is None:
                self._aftermath.cancel(origin, child.id)
                continue
            self._commits.put(Table.ACTORS, link_key(parent.id, child.id), b"")
            if not parent.record.links:
                parent.record.links = True
                self._table.touch(parent)

    def _child_ended(self, task: LiveTask, _event: object, _error: object) -> None:
        origin = task.record.origin
        assert origin is not None
        self._commits.delete(Table.ACTORS, link_key(origin, task.id))

    def _parent_ended(self, task: LiveTask, _event: object, _error: object) -> None:
        steps = self._steps(task.id)
        # After the commit: all of its links are on disk then, and can be read without a look at what is not.
        self._commits.after_commit(lambda: self._aftermath.begin(steps))

    def _steps(self, parent: bytes) -> Iterator[None]:
        """Cancel the children of a parent that has ended, some at a time."""
        start: bytes | None = links_of(parent)[0]
        while start is not None:
            start = self._cancel_some(parent, start)
            yield

    def _cancel_some(self, parent: bytes, start: bytes) -> bytes | None:
        """Where the next step begins; None after the last one."""
        rows = self._commits.scan(Table.ACTORS, start, links_of(parent)[1], AT_ONCE)
        for key, _ in rows:
            self._aftermath.cancel(parent, link_in(key)[1])
        return rows[-1][0] + b"\0" if len(rows) == AT_ONCE else None

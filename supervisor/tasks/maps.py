"""Maps: the children that tasks have started by `map_tasks`.

One row says that a map is under way; its children are found by their ids, so they have no rows of their own. When the
parent ends, the row says in the same commit that the map is over. After that commit those of its children that have not
ended are cancelled, and those that were kept for it may be removed. `recover` goes on with that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from ...actors.errors import NotInTask
from ...actors.ids import id_text
from ...actors.map_ids import BASE_BYTES, UNDER_WAY_LIMIT, base_in, children_of
from ...actors.state import TERMINAL
from ...actors.step_label import STEPS_LIMIT
from ...storage.tables.map_rows import OVER, UNDER_WAY, all_maps, kept_in, kept_of, map_in, map_key, maps_of
from ...storage.tables.prune import expiry_rows
from ...storage.tables.record import state_of
from ...storage.tables.schema import Table
from .aftermath import Aftermath
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .task_table import TaskTable

#: Children that are looked at, and rows of kept ones, in one step between other work.
AT_ONCE: Final = 200
KEPT_AT_ONCE: Final = 20
#: Rows that are read at once at boot.
PAGE: Final = 1_000


class Maps:
    """Those of all tasks."""

    def __init__(self, commits: CommitLoop, table: TaskTable, aftermath: Aftermath) -> None:
        self._commits = commits
        self._table = table
        self._aftermath = aftermath
        table.ends.follow("maps", lambda task, _event, _error: self.end(task))

    def recover(self) -> None:
        """At boot, after the tasks: find the maps that were over under an earlier supervisor."""
        start, stop = all_maps()
        while rows := self._commits.scan(Table.ACTORS, start, stop, PAGE):
            for key, row in rows:
                parent, base = map_in(key)
                if row == OVER or self._aftermath.living(parent) is None:
                    self._aftermath.begin(self._steps(parent, base))
            start = rows[-1][0] + b"\0"

    def begin(self, parent: Any, base: Any, rows: Sequence[Sequence[Any]]) -> None:
        """These rows of a START are children of this map. NotInTask if its parent has ended."""
        if not isinstance(base, bytes) or len(base) != BASE_BYTES:
            raise ValueError("not the base of a map")
        if any(base_in(row[0]) != base or row[7] != parent for row in rows):
            raise ValueError("a start of a map has a child that is not one")
        key = map_key(parent, base)
        row = self._commits.get(Table.ACTORS, key)
        if row == UNDER_WAY:
            return
        task = None if row is not None else self._aftermath.living(parent)
        if task is None:
            raise NotInTask(f"map_tasks starts nothing more: task {id_text(parent)} has ended, or begun anew")
        self._commits.put(Table.ACTORS, key, UNDER_WAY)
        if not task.record.maps:
            task.record.maps = True
            self._table.touch(task)

    def end(self, task: LiveTask) -> None:
        """The maps of a task are over, with the next commit: it has ended, or begins anew."""
        for key, _ in self._commits.store.look(Table.ACTORS, *maps_of(task.id), limit=STEPS_LIMIT):
            self._commits.put(Table.ACTORS, key, OVER)
            steps = self._steps(*map_in(key))
            # After the commit: all of its children are on disk then, and can be read without a look at what is not.
            self._commits.after_commit(partial(self._aftermath.begin, steps))

    def _steps(self, parent: bytes, base: bytes) -> Iterator[None]:
        """Cancel the children of a map that is over, and let those that have ended be removed, some at a time."""
        start, stop = children_of(base)
        # A map has at most so many under way, and all children before them have ended.
        for _ in range(0, UNDER_WAY_LIMIT, AT_ONCE):
            tasks = self._commits.scan(Table.TASKS, start, stop, AT_ONCE, reverse=True)
            for id, row in tasks:
                if not _has_ended(row):
                    self._aftermath.cancel(parent, id)
            if len(tasks) < AT_ONCE:
                break
            stop = tasks[-1][0]
            yield
        start, stop = kept_of(parent, base)
        while rows := self._commits.scan(Table.ACTORS, start, stop, KEPT_AT_ONCE):
            for key, row in rows:
                for expiry, ids in expiry_rows(self._commits.clock.time(), kept_in(key, row)[2]).items():
                    self._commits.put(Table.EXPIRY, expiry, ids or b"")
                self._commits.delete(Table.ACTORS, key)
            start = rows[-1][0] + b"\0"
            yield
        self._commits.delete(Table.ACTORS, map_key(parent, base))


def _has_ended(row: bytes) -> bool:
    """Whether a task has ended, by its row. One that is damaged has not: its cancel says what is wrong with it."""
    try:
        return state_of(row) in TERMINAL
    except ValueError:
        return False

"""StoredWindows: the windows of rates, kept on disk, so that they hold over the death of a supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from ...actors.task.limit import PER_LIMIT
from ...storage.tables.limit_rows import WINDOW, WindowRow, pack_window, unpack_window, window_key
from ...storage.tables.schema import Table, after_prefix
from ..rules.rate_window import RateWindow, begins_of
from .commit_loop import CommitLoop
from .gate_group import GateGroup


class StoredWindows:
    """Those of all groups."""

    def __init__(self, commits: CommitLoop) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        #: Groups whose window has changed.
        self._dirty: list[GateGroup] = []

    def load(self, group_of: Callable[[str, str | None], GateGroup]) -> Iterator[GateGroup]:
        """Give the groups that have a window on disk that window. `group_of` makes the group of a limit and a key."""
        clock, mono = self._commits.clock, self._loop.time()
        ahead = clock.time() - mono
        for _, row in self._commits.scan(Table.ACTORS, WINDOW, after_prefix(WINDOW)):
            try:
                window = unpack_window(row)
            except ValueError:
                continue  # `understudy check` tells of it
            group = group_of(window.name, window.key)
            # On the same boot the monotonic clock still says when they began, however the wall clock was set since.
            on_this_boot = bool(window.origin) and window.origin == clock.origin
            begins = begins_of(window.times, window.ahead if on_this_boot else ahead, mono)
            group.window = RateWindow([*begins, *[mono] * window.let_in])
            group.per = window.per if 0 < window.per <= PER_LIMIT else 0.0
            group.stored = True
            self.soil(group)
            yield group

    @property
    def changed(self) -> bool:
        """Whether there is something to write."""
        return bool(self._dirty)

    def soil(self, group: GateGroup) -> None:
        """The window of a group has changed."""
        if not group.dirty:
            group.dirty = True
            self._dirty.append(group)

    def write(self) -> None:
        """Put the rows of the windows that have changed into the open batch."""
        dirty, self._dirty = self._dirty, []
        if not dirty:
            return
        origin, ahead = self._commits.clock.origin, self._commits.clock.time() - self._loop.time()
        for group in dirty:
            group.dirty = False
            window = group.window
            if window:
                times = [at + ahead for at in window.times]
                rate = group.numbers.rate
                per = group.per if rate is None else rate.per
                row = WindowRow(group.numbers.name, group.key, window.let_in, times, origin, ahead, per)
                self._commits.put(Table.ACTORS, window_key(group.sort), pack_window(row))
                group.stored = True
            elif group.stored:
                self._commits.delete(Table.ACTORS, window_key(group.sort))
                group.stored = False

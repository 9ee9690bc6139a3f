"""Queues: the queue of each lane, in which the live tasks wait for a worker or for their time."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable
from typing import Final

from ...actors.errors import StoreCorrupt
from ...storage.tables.schema import Lane, Table, due_of, live_id, live_key
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .ready_queue import ReadyQueue

log = logging.getLogger("understudy")

#: The lanes whose tasks may begin now.
READY: Final = (Lane.SYNC, Lane.ASYNC, Lane.ALONE, Lane.BOX)
#: Errors raised by reading a damaged record: it may be no record at all, or have fields of other types.
DAMAGED: Final = (ValueError, TypeError, struct.error)
#: Tasks read from disk together with those that are taken, because they come next.
FETCHED: Final = 256


class Queues:
    """Holds keys of the `live` table; `find` and `fetch` bring their tasks into memory."""

    def __init__(
        self,
        commits: CommitLoop,
        tasks: dict[bytes, LiveTask],
        find: Callable[[bytes], LiveTask | None],
        fetch: Callable[[list[bytes]], None],
    ) -> None:
        self._commits = commits
        self._tasks = tasks
        self._find = find
        self._fetch = fetch
        self.lanes: dict[int, ReadyQueue] = {
            lane: ReadyQueue(self._reader_of(lane)) for lane in (*READY, Lane.DELAYED)
        }

    def waits(self, lane: Lane) -> bool:
        """Whether a task waits in this lane, as far as is known without reading the disk."""
        return not self.lanes[lane].empty

    @property
    def crowded(self) -> bool:
        """Whether more than CROWD tasks are ready in a lane (see ready_queue.py)."""
        return any(self.lanes[lane].crowded for lane in READY)

    def of(self, task: LiveTask) -> ReadyQueue | None:
        """The queue in which the task has its place; None for a task that runs or has ended."""
        return None if task.key is None else self.lanes.get(task.key[0])

    def push(self, task: LiveTask) -> None:
        """Put a task that is on no worker into its queue."""
        assert task.key is not None
        self.lanes[task.key[0]].push(task.key)

    def discard(self, task: LiveTask) -> None:
        """Take a task out, wherever it is."""
        if task.key is not None and (queue := self.of(task)) is not None:
            queue.discard(task.key)

    def take(self, lane: Lane, count: int = 1) -> list[LiveTask]:
        """Take the first tasks of a lane out of its queue, at most `count`; none only if it is empty."""
        queue, tasks, of = self.lanes[lane], self._tasks, self._tasks.get
        while keys := queue.take(count, self._stands):
            if not all(key[9:] in tasks for key in keys):
                self._fetch(keys + queue.coming(FETCHED))
            taken = [task for key in keys if (task := of(key[9:]) or self._at(key)) is not None]
            if taken:
                return taken
        return []

    def put_back(self, task: LiveTask) -> None:
        """Undo `take` for a task: it is the first of its lane again."""
        assert task.key is not None
        self.lanes[task.key[0]].put_back(task.key)

    def next_due(self) -> float | None:
        """When the first delayed task is due."""
        key = self.lanes[Lane.DELAYED].peek(self._stands)
        return None if key is None else due_of(key)

    def take_due(self, now: float, most: int) -> list[LiveTask]:
        """Take out delayed tasks that are due by `now`, at most `most`."""
        queue = self.lanes[Lane.DELAYED]
        due: list[LiveTask] = []
        while len(due) < most and (key := queue.peek(self._stands)) is not None and due_of(key) <= now:
            queue.take(1, self._stands)
            due += self._all_at([key])
        return due

    def running_at_boot(self) -> list[LiveTask]:
        """The tasks that were running when the last supervisor of this home ended."""
        rows = self._commits.scan(Table.LIVE, live_key(Lane.RUNNING, 0, b""), live_key(Lane.SYNC, 0, b""))
        return self._all_at(key for key, _ in rows)

    def _all_at(self, keys: Iterable[bytes]) -> list[LiveTask]:
        return [task for key in keys if (task := self._at(key)) is not None]

    def _at(self, key: bytes) -> LiveTask | None:
        """The task of a live row. A row without a task is damage and is removed, so that the queue goes on.

        A task whose record cannot be read is left out; its row stays on disk for `understudy check`.
        """
        try:
            task = self._find(live_id(key))
        except (StoreCorrupt, *DAMAGED):
            log.exception("task %s does not run, as its rows are damaged", live_id(key).hex())
            return None
        if task is None or task.key != key:
            log.error("a row of a queue belongs to no queued task and is removed: %s", key.hex())
            self._commits.delete(Table.LIVE, key)
            return None
        return task

    def _stands(self, key: bytes) -> bool:
        """Whether a key read from disk is still the place of its task; changes not yet committed are in memory."""
        task = self._tasks.get(live_id(key))
        return task is None or task.key == key

    def _reader_of(self, lane: Lane) -> Callable[[bytes, int], list[bytes]]:
        first, end = live_key(lane, 0, b""), live_key(lane + 1, 0, b"")

        def read_after(key: bytes, count: int) -> list[bytes]:
            start = key + b"\0" if key else first
            return [row for row, _ in self._commits.scan(Table.LIVE, start, end, count)]

        return read_after

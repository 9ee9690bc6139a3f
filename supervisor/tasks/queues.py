"""Queues: the queue of each lane of each pool, in which the live tasks wait for a worker or for their time."""

from __future__ import annotations

import logging
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from ...actors.errors import StoreCorrupt
from ...storage.tables.schema import READY, Lane, Table, code_sort, due_of, live_id, live_key
from .catalog import TaskCatalog
from .commit_loop import CommitLoop
from .gate import Gate
from .live_actor import LiveActor
from .live_task import LiveTask
from .pool_lanes import ABSENT, AnyLane, PoolLane, lanes_of, rows_between, rows_of
from .ready_queue import ReadyQueue
from .turn_queue import TurnQueue

log = logging.getLogger("understudy")

#: As plain numbers, for speed. All lanes below GATE have one queue or none.
_GATE: Final = int(Lane.GATE)
_POOL: Final = int(Lane.POOL)
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
        declared: TaskCatalog,
        find: Callable[[bytes], LiveTask | None],
        fetch: Callable[[list[bytes]], None],
        stand: Callable[[LiveTask], None],
        pools: Iterable[str] = (),
    ) -> None:
        """`pools`: the names of the pools that there are, beside the workers of all tasks without one."""
        self._commits = commits
        self._tasks = tasks
        self._declared = declared
        self._find = find
        self._fetch = fetch
        lanes: list[AnyLane] = [*READY]
        pooled: list[PoolLane] = []
        for pool in pools:
            own = [lane for lane in lanes_of(pool).values() if isinstance(lane, PoolLane)]
            pooled += own
            lanes += own
        #: Each queue once. Nothing of the lanes of absent code and pools is ever taken, so they share one.
        self.all: Sequence[ReadyQueue]
        self.lanes: dict[AnyLane | int, ReadyQueue] = {
            lane: ReadyQueue(self._reader_of(lane)) for lane in (*lanes, Lane.DELAYED, Lane.CODE)
        }
        self.all = tuple(self.lanes.values())
        self.lanes[Lane.NO_POOL] = self.lanes[Lane.CODE]
        #: The queues of pools, by the first bytes of their sort; the parts of the lane POOL that belong to none.
        self._pooled = {rows_of(lane)[0][1:8]: self.lanes[lane] for lane in pooled}
        self._unpooled = rows_between(pooled)
        #: The actors that have something to do, and tasks that the gate has let in. Of actors that wait for code or for
        #: a pool, none is ever taken.
        self.turns: dict[AnyLane, TurnQueue] = {lane: TurnQueue() for lane in (*lanes, *ABSENT)}
        #: Where tasks with a limit wait.
        self.gate = Gate(commits, tasks, declared, self.turns, self._at, fetch, self._stands, stand)
        self._alternate = False
        #: The parts of the lanes ABSENT and POOL whose tasks may have another place now: the key to read on from, and
        #: the end.
        self._declared_parts: deque[tuple[bytes, bytes]] = deque()

    def waits(self, lane: AnyLane) -> bool:
        """Whether a task waits in this lane, as far as is known without reading the disk."""
        return not self.lanes[lane].empty or len(self.turns[lane]) > 0

    def crowded(self, pool: str | None) -> bool:
        """Whether more than CROWD tasks are ready in a lane of a pool (see ready_queue.py)."""
        return any(self.lanes[lane].crowded for lane in lanes_of(pool).values() if lane in self.lanes)

    def crowded_for(self, name: str) -> bool:
        """Whether a flood of tasks of this name meets a crowd: in a lane of their pool, or at their limit."""
        return self.crowded(self._declared.pool_of(name)) or self.gate.is_crowded(name)

    def of(self, task: LiveTask) -> ReadyQueue | None:
        """The queue in which the task has its place; None for a task that runs or has ended."""
        key = task.key
        if key is None:
            return None
        if key[0] < _GATE:
            return self.lanes.get(key[0])
        if key[0] == _GATE:
            return self.gate.queue_of(task)
        return self._pooled.get(key[1:8]) if key[0] == _POOL else self.lanes.get(key[0])

    def queue_at(self, key: bytes) -> ReadyQueue:
        """The queue with this key, which is no key of the lane GATE."""
        return self._pooled[key[1:8]] if key[0] == Lane.POOL else self.lanes[key[0]]

    def push(self, task: LiveTask) -> None:
        """Put a task that is on no worker into its queue."""
        if isinstance(task, LiveActor):
            self.turns[task.lane].push(task)
            return
        if task.key is None:
            return
        if task.key[0] == Lane.GATE:
            self.gate.push(task)
        elif (queue := self.of(task)) is not None:
            queue.push(task.key)

    def discard(self, task: LiveTask) -> None:
        """Take a task out, wherever it is."""
        if isinstance(task, LiveActor):
            for turns in self.turns.values():
                turns.discard(task)
            return
        if task.passed:
            self.gate.leave(task)
        if task.key is not None and (queue := self.of(task)) is not None:
            queue.discard(task.key)

    def take(self, lane: AnyLane, count: int = 1) -> list[LiveTask]:
        """Take the first tasks of a lane out of its queue, at most `count`; none only if it is empty."""
        if self.turns[lane] and self._is_turns_turn(lane):
            return self.turns[lane].take_some(count)
        queue, tasks, of = self.lanes[lane], self._tasks, self._tasks.get
        while keys := queue.take(count, self._stands):
            if not all(key[9:] in tasks for key in keys):
                self._fetch(keys + queue.coming(FETCHED))
            taken = [task for key in keys if (task := of(key[9:]) or self._at(key)) is not None]
            if taken:
                return taken
        return []

    def _is_turns_turn(self, lane: AnyLane) -> bool:
        """Whether what is in memory only is next. Of equal priority, it and the tasks on disk come alternately."""
        first = self.lanes[lane].peek(self._stands)
        if first is None:
            return True
        self._alternate = not self._alternate
        # The last byte of a sort is that of the priority.
        sort, actors_sort = first[8], self.turns[lane].sort
        return actors_sort < sort or (actors_sort == sort and self._alternate)

    def put_back(self, task: LiveTask) -> None:
        """Undo `take` for a task: it is the first of its lane again."""
        if task.rests or task.passed:
            self.turns[task.lane].put_back(task)
            return
        assert task.key is not None
        self.queue_at(task.key).put_back(task.key)

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

    # --- tasks whose code or pool is absent; all of them are on disk only ---

    def code_came(self, names: Iterable[str]) -> bool:
        """The code of tasks with these names has come; whether any task waits for code or a pool at all.

        If code or pool have changed with the app, tasks go where they belong now, also those that stand in the lane of
        a pool which is gone.
        """
        sorts = sorted(map(code_sort, names))
        gone = [part for part in self._unpooled if self._commits.scan(Table.LIVE, *part, 1)]
        self._declared_parts += gone
        waits = False
        for lane in ABSENT:
            if self._commits.scan(Table.LIVE, *rows_of(lane), 1):
                waits = True
                self._declared_parts += [(live_key(lane, sort, b""), _end_of(lane, sort)) for sort in sorts]
        return waits or bool(gone)

    def code_went(self, name: str) -> None:
        """The code of tasks with this name is absent again: those that still wait for it stay where they are."""
        ends = {_end_of(lane, code_sort(name)) for lane in ABSENT}
        self._declared_parts = deque(part for part in self._declared_parts if part[1] not in ends)

    @property
    def has_declared(self) -> bool:
        """Whether `take_declared` has something to do."""
        return bool(self._declared_parts)

    def take_declared(self, most: int) -> list[LiveTask]:
        """Some of the tasks whose code or pool has come, at most `most`. They are still in their old place."""
        rows: list[tuple[bytes, bytes]] = []
        while self._declared_parts and not rows:
            start, end = self._declared_parts.popleft()
            rows = self._commits.scan(Table.LIVE, start, end, most)
            if len(rows) == most:
                self._declared_parts.appendleft((rows[-1][0] + b"\0", end))
        return self._all_at(key for key, _ in rows if self._stands(key))

    def absent(self, lane: Lane, most: int) -> dict[str, int]:
        """How many tasks of each name wait in the lane CODE or NO_POOL: at most `most` on disk, and `most` actors with
        messages."""
        first: dict[bytes, bytes] = {}
        counts: Counter[bytes] = Counter()
        for key, _ in self._commits.scan(Table.LIVE, *rows_of(lane), most):
            counts[key[1:9]] += 1
            first.setdefault(key[1:9], key)
        named = Counter(actor.record.name for actor in islice(self.turns[lane], most))
        for sort, key in first.items():
            task = self._at(key) if self._stands(key) else None
            if task is not None:
                named[task.record.name] += counts[sort]
        return dict(named)

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

    def _reader_of(self, lane: AnyLane) -> Callable[[bytes, int], list[bytes]]:
        first, end = rows_of(lane)

        def read_after(key: bytes, count: int) -> list[bytes]:
            start = key + b"\0" if key else first
            return [row for row, _ in self._commits.scan(Table.LIVE, start, end, count)]

        return read_after


def _end_of(lane: Lane, sort: int) -> bytes:
    """The key behind all of a lane with this sort."""
    return live_key(lane, sort, b"\xff" * 16) + b"\0"

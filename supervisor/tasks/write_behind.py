"""WriteBehind: the changed tasks that the next commit writes, and the release of tasks that need not stay in memory."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from ...storage.tables.failure_rows import FAILED
from ...storage.tables.moves import FINAL, Moves, Shown
from ...storage.tables.prune import expiry_rows
from ...storage.tables.record import Record
from ...storage.tables.schema import EXPIRY_KEY_BYTES, ID_BYTES, LIVE_KEY_BYTES, Lane, Table, live_id
from .commit_loop import CommitLoop
from .live_actor import LiveActor
from .live_task import LiveTask
from .queues import Queues
from .ready_queue import ReadyQueue
from .tallies import Tallies

log = logging.getLogger("understudy")


class WriteBehind:
    """Writes each changed task once for each commit, just before the batch is sealed."""

    def __init__(self, commits: CommitLoop, tasks: dict[bytes, LiveTask], queues: Queues) -> None:
        self._commits = commits
        self._tasks = tasks
        self._queues = queues
        #: Counts what ends.
        self.tallies = Tallies(commits.store)
        self._dirty: list[LiveTask] = []
        #: The tasks that have ended since the last write, by the seconds that they are to be kept.
        self._expiring: defaultdict[float, list[bytes]] = defaultdict(list)
        #: Read from disk since the last write.
        self._loaded: list[LiveTask] = []
        #: Number of the last batch that was given rows, and of the last one known to be on disk.
        self._batch = self._on_disk = 0
        #: Called after the commit with the tasks that ended in it.
        self.on_ended: Callable[[list[LiveTask]], None] = lambda _: None
        commits.before_seal = self.write

    def touch(self, task: LiveTask) -> None:
        """Its record has changed: write it with the next commit."""
        if not task.dirty:
            task.dirty = True
            self._dirty.append(task)

    def loaded(self, task: LiveTask) -> None:
        """It was read from disk. It is released before the next commit, unless it changes or is about to run."""
        self._loaded.append(task)

    def expire(self, task: LiveTask) -> None:
        """It has ended: remove it when its `keep` time is over."""
        if task.options.keep is not None:
            self._expiring[task.options.keep].append(task.id)

    def write_far(self, queue: ReadyQueue, new: list[tuple[bytes, Record]]) -> None:
        """Write new tasks behind a queue's horizon to disk only: memory would release them at once."""
        keys = [key for key, _ in new]
        moves = Moves()
        for _, record in new:
            moves.add(record)
        self._merge({record.id: record.pack() for _, record in new}, dict.fromkeys(keys, b""), moves)
        queue.turn_away(keys)
        self._commits.after_commit(lambda: queue.committed(keys))

    def write(self) -> None:
        """Put the changed tasks into the open batch."""
        if self._loaded:
            self._release_loaded()
        dirty = self._dirty
        if not dirty:
            return
        self._dirty = []
        self._batch = batch = self._batch + 1
        tasks: dict[bytes, bytes | None] = {}
        live: dict[bytes, bytes | None] = {}
        moves = Moves()
        note = moves.note
        ended: list[LiveTask] = []
        tallied: defaultdict[Shown, list[Record]] = defaultdict(list)
        for task in dirty:
            task.dirty = False
            task.batch = batch
            over = task.record.ended is not None
            if task.key is None and not over:
                # It was set aside: the disk keeps what it says of it.
                continue
            try:
                row, key = task.row()
            except Exception:
                log.exception("task %s cannot be written; all others are", task.id.hex())
                continue
            record = task.record
            tasks[task.id] = row
            # The state is that of the row, which may say "queued" of a task that has been handed out.
            before = task.stored_facts
            facts = task.stored_facts = note(record, row[1], before)
            if over:
                ended.append(task)
                if before is None or before[1] not in FINAL:
                    tallied[facts].append(record)
                    if facts[1] in FAILED:
                        moves.fail(record)
            if key != task.stored_key:
                if task.stored_key is not None:
                    live[task.stored_key] = None
                if key is not None:
                    live[key] = b""
                task.stored_key = key
        self._merge(tasks, live, moves)
        self.tallies.write(tallied, self._commits.clock.time())
        for keep, ids in self._expiring.items():
            rows = expiry_rows(self._commits.clock.time() + keep, ids)
            self._commits.store.batch.merge(Table.EXPIRY, rows, EXPIRY_KEY_BYTES * len(ids))
        self._expiring.clear()
        self._commits.after_commit(lambda: self._written(dirty, ended, batch))

    def _merge(self, tasks: dict[bytes, bytes | None], live: dict[bytes, bytes | None], moves: Moves) -> None:
        """Rows of the two tables, and what they change in the index and the counters, for the open batch."""
        moves.write(self._commits.store)
        batch = self._commits.store.batch
        batch.merge(Table.TASKS, tasks, sum(map(len, filter(None, tasks.values()))) + ID_BYTES * len(tasks))
        batch.merge(Table.LIVE, live, LIVE_KEY_BYTES * len(live))

    def _written(self, tasks: list[LiveTask], ended: list[LiveTask], batch: int) -> None:
        """After the commit: release tasks that need not be in memory, and report those that ended."""
        self._on_disk = batch
        # A task that has changed since comes again with a later batch.
        ended = [task for task in ended if not task.dirty and task.batch == batch]
        for task in ended:
            self._tasks.pop(task.id, None)
        for queue in self._queues.all:
            # A lane without a horizon keeps everything in memory.
            if queue.horizon is not None:
                standing = [
                    task
                    for task in tasks
                    if task.key and self._queues.of(task) is queue and not task.dirty and task.batch == batch
                ]
                queue.committed(task.key for task in standing if task.key)
                self._release(queue, standing)
        if self._queues.gate.has_groups:
            self._queues.gate.written(
                (
                    task
                    for task in tasks
                    if task.key and task.key[0] == Lane.GATE and task.batch == batch and not task.dirty
                ),
                self._release,
            )
        if ended:
            self.on_ended(ended)
        for queue in self._queues.all:
            for key in queue.cut(self._is_written):
                if self._is_written(key):
                    self._tasks.pop(live_id(key), None)

    def _release_loaded(self) -> None:
        """Release tasks that were only read; changed ones are released after their commit."""
        loaded, self._loaded = self._loaded, []
        for task in loaded:
            queue = self._queues.of(task)
            if isinstance(task, LiveActor):
                self._release_passive(task)
            elif queue is not None and not task.dirty and task.batch <= self._on_disk:
                self._release(queue, [task])

    def _release_passive(self, actor: LiveActor) -> None:
        """Release an actor that has nothing to do and is in no worker's memory, once all of it is on disk."""
        if not actor.is_passive or self._tasks.get(actor.id) is not actor:
            return
        pending = self._commits.store.is_pending(actor.last_batch)
        if actor.dirty or actor.batch > self._on_disk or pending:
            self._loaded.append(actor)
        else:
            self._tasks.pop(actor.id, None)

    def _release(self, queue: ReadyQueue, tasks: Iterable[LiveTask]) -> None:
        """Release those of these tasks that are behind the queue's horizon."""
        for task in tasks:
            if task.attempt is None and task.key and not task.passed and not queue.holds(task.key):
                self._tasks.pop(task.id, None)

    def _is_written(self, key: bytes) -> bool:
        task = self._tasks.get(live_id(key))
        written = task is None or (not task.dirty and task.batch <= self._on_disk)
        return written and not self._commits.store.pending(Table.LIVE, key)

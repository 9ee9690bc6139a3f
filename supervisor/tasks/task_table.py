"""The table of live tasks: the tasks in memory, the queue of each, and the changes that are still to be written.

A task is in memory while it is about to run, runs, or has an unwritten change. All others are rows on disk; `find`
reads one when it is asked for.
"""

from __future__ import annotations

import logging
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

from ...actors.errors import StoreCorrupt
from ...actors.ids import id_text
from ...actors.state import TERMINAL, Event, State, after
from ...actors.task.options import Options
from ...storage.tables.prune import expiry_rows
from ...storage.tables.record import Record
from ...storage.tables.schema import (
    EXPIRY_KEY_BYTES,
    ID_BYTES,
    LIVE_KEY_BYTES,
    Lane,
    Table,
    after_prefix,
    due_of,
    due_sort,
    live_id,
    live_key,
    mail_key,
    mail_keys,
    ready_sort,
)
from ..rules.verdict import ErrorRow
from .catalog import Place, TaskCatalog
from .commit_loop import CommitLoop
from .live_task import LiveTask
from .ready_queue import ReadyQueue

log = logging.getLogger("understudy")

READY = (Lane.SYNC, Lane.ASYNC, Lane.ALONE, Lane.BOX)
#: What reading a damaged record raises: it may be none at all, or have fields of other kinds.
DAMAGED: Final = (ValueError, TypeError, struct.error)
#: Tasks read from disk beside those that are taken out of a line, because they come next.
FETCHED: Final = 256


class TaskTable:
    """Every change of a task's record goes through here."""

    def __init__(self, commits: CommitLoop) -> None:
        self._commits = commits
        self.tasks: dict[bytes, LiveTask] = {}
        #: What tasks there are.
        self.declared = TaskCatalog()
        self.queues: dict[int, ReadyQueue] = {
            lane: ReadyQueue(self._reader_of(lane)) for lane in (*READY, Lane.DELAYED)
        }
        self._dirty: list[LiveTask] = []
        #: The tasks that have ended since the last write, by the seconds that they are to be kept.
        self._expiring: defaultdict[float, list[bytes]] = defaultdict(list)
        #: Read from disk since the last write.
        self._loaded: list[LiveTask] = []
        #: Number of the last batch that was given rows, and of the last one known to be on disk.
        self._batch = self._on_disk = 0
        #: Called after the commit with the tasks that ended in it.
        self.on_ended: Callable[[list[LiveTask]], None] = lambda _: None
        #: Called with every change of state, as it is made.
        self.on_change: Callable[[LiveTask], None] | None = None
        #: Called when a task has been put in line.
        self.on_queued: Callable[[], None] = lambda: None
        commits.before_seal = self.write

    def declare(self, tasks: dict[str, dict[str, Any]]) -> None:
        """Add the app's tasks. Queued tasks get the new options; a running one keeps those of its start."""
        self.declared.add(tasks)
        for task in list(self.tasks.values()):
            if task.queued and task.record.name in tasks:
                task.options, task.lane = self.declared.options_of(task.record)
                if task.record.place != _place_of(task):
                    self.reprioritise(task)

    # --- finding ---

    def find(self, id: bytes) -> LiveTask | None:
        """The task with this id if it has not ended; read from disk if need be. None otherwise."""
        task = self.tasks.get(id)
        if task is not None:
            return task if task.record.ended is None else None
        record = self.record(id)
        return None if record is None or record.ended is not None else self._load(record)

    def record(self, id: bytes) -> Record | None:
        """The task's record as of now, ended or not. StoreCorrupt for one that cannot be read."""
        task = self.tasks.get(id)
        if task is not None:
            return task.record
        row = self._commits.get(Table.TASKS, id)
        try:
            return None if row is None else Record.unpack(id, row)
        except ValueError as error:
            raise StoreCorrupt(
                f"the record of task {id_text(id)} is damaged; run `understudy check`", problems=[str(error)]
            ) from error

    def _load(self, record: Record) -> LiveTask:
        task = self._take_in(record, self._commits.get(Table.ARGS, record.id), stored=True)
        self._loaded.append(task)
        return task

    def _take_in(self, record: Record, args: bytes | None, *, stored: bool) -> LiveTask:
        usual = self.declared.usual.get(record.name) if record.options is None and not record.alone else None
        options, lane = usual[:2] if usual is not None else self.declared.options_of(record)
        task = LiveTask(record, options, lane, stored=stored)
        if record.place is not None:
            task.key = task.stored_key = live_key(*record.place, record.id)
        task.args = args
        self.tasks[record.id] = task  # last, so that a damaged record leaves nothing here
        return task

    def _fetch(self, keys: list[bytes]) -> None:
        """Read the tasks of these keys that are not in memory, all at once: a third of the time of one by one.

        Damaged and missing rows are left out; `_at` reports them.
        """
        tasks = self.tasks
        missing = sorted([id for key in keys if (id := key[9:]) not in tasks])
        rows = self._commits.get_many(Table.TASKS, missing)
        args = self._commits.get_many(Table.ARGS, missing)
        # Nearly no task that waits in line has mail or a log: one look for all of them together, instead of one for
        # each when it is handed out and another when it ends.
        with_more = min(self._first_of(Table.MAIL, missing), self._first_of(Table.LOGS, missing))
        for id, row in rows.items():
            try:
                record = Record.unpack(id, row)
                if record.ended is None:
                    self._take_in(record, args.get(id), stored=id >= with_more)
            except DAMAGED:
                continue

    def _first_of(self, table: Table, ids: list[bytes]) -> bytes:
        """The first task that has rows here, among those from the first to the last of these; if there is none, what
        sorts behind them."""
        end = after_prefix(ids[-1])
        found = self._commits.scan(table, ids[0], end, 1)
        return found[0][0][:ID_BYTES] if found else end

    # --- changing ---

    def add(self, new: Iterable[tuple[Record, bytes | None]]) -> None:
        """Queue new tasks with their arguments, and write them with the next commit."""
        tasks, dirty, usual_of = self.tasks, self._dirty, self.declared.usual
        keys: dict[int, list[bytes]] = {}
        far: dict[ReadyQueue, list[tuple[bytes, Record]]] = {}
        for record, args in new:
            id = record.id
            usual = usual_of.get(record.name) if record.options is None and record.due is None else None
            options, lane = usual[:2] if usual is not None else self.declared.options_of(record)
            if args is not None:
                self._commits.put(Table.ARGS, id, args)
            record.place = place = usual[2] if usual is not None else _place_in_line(record, options, lane)
            key = live_key(*place, id)
            queue = self.queues[place[0]]
            if queue.horizon is not None and key > queue.horizon and self.on_change is None:
                far.setdefault(queue, []).append((key, record))
                continue
            tasks[id] = task = LiveTask(record, options, lane, stored=False)
            task.args = args
            task.key = key
            keys.setdefault(place[0], []).append(key)
            task.dirty = True
            dirty.append(task)
            if self.on_change is not None:
                self.on_change(task)
        for place_lane, more in keys.items():
            self.queues[place_lane].extend(more)
        for queue, rows in far.items():
            self._write_far(queue, rows)
        self.on_queued()

    def _write_far(self, queue: ReadyQueue, new: list[tuple[bytes, Record]]) -> None:
        """Write tasks behind a queue's horizon to disk only: memory would release them at once."""
        keys = [key for key, _ in new]
        self._merge({record.id: record.pack() for _, record in new}, dict.fromkeys(keys, b""))
        queue.turn_away(keys)
        self._commits.after_commit(lambda: queue.committed(keys))

    def touch(self, task: LiveTask) -> None:
        """Its record has changed: write it with the next commit."""
        if not task.dirty:
            task.dirty = True
            self._dirty.append(task)

    def begin(self, tasks: Iterable[LiveTask], pid: int, now: float) -> None:
        """They are handed to a worker."""
        for task in tasks:
            record = task.record
            record.state = after(record.state, Event.DISPATCH)
            record.started = now
            record.pid = pid
            if record.due is not None:
                record.due = None
            record.place = _RUNNING
            task.key = _RUNNING_PREFIX + task.id
            # This does not make it dirty: most tasks end before a reader could see that they run. `touch` follows if
            # this one does not. Until then the disk says "queued", and a crash would start it again from there.
            if self.on_change is not None:
                self.on_change(task)

    def requeue(
        self, task: LiveTask, event: Event, *, error: ErrorRow | None = None, due: float | None = None
    ) -> None:
        """It has left its worker and is queued again: an interruption, or a retry with its `due` time."""
        record = task.record
        record.state = after(record.state, event)
        record.pid = None
        record.progress = None if event is Event.RETRY else record.progress
        if event is Event.RETRY:
            record.attempt += 1
            record.error = error
            _note_tries(task)
        else:
            record.interruptions += 1
        record.due = due
        task.off_worker()
        task.options, task.lane = self.declared.options_of(record)
        self.stand(task)

    def take_back(self, task: LiveTask) -> None:
        """It was handed out and had not begun: as if it had never left its queue."""
        record = task.record
        record.state = State.QUEUED
        record.started = record.pid = None
        task.off_worker()
        self.stand(task)

    def end(
        self, task: LiveTask, event: Event, *, error: ErrorRow | None = None, value: bytes | None = None
    ) -> None:
        """It has ended; its state never changes again. Removes its messages; the record and the value stay."""
        record = task.record
        record.state = after(record.state, event)
        assert record.state in TERMINAL
        record.ended = time.time()
        record.pid = None
        if record.due is not None:
            record.due = None
        if record.error is not error:
            record.error = error
            _note_tries(task)
        if task.attempt is None:
            self._leave_queue(task)
        else:
            task.off_worker()
        record.place = task.key = None
        task.result = value
        if value is not None:
            record.result = len(value)
            self._commits.put(Table.RESULTS, record.id, value)
        if task.mail is not None or task.stored:
            self._clear_mail(task)
        keep = task.options.keep
        if keep is not None:
            self._expiring[keep].append(record.id)
        self._changed(task)

    def _clear_mail(self, task: LiveTask) -> None:
        mail, id = task.mail, task.id
        if mail is not None:
            self._commits.store.batch.remove(Table.MAIL, mail_keys(id, mail.first, mail.last))
        elif task.stored:
            for key, _ in self._commits.scan(Table.MAIL, mail_key(id, 0), mail_key(id, (1 << 64) - 1)):
                self._commits.delete(Table.MAIL, key)

    def _changed(self, task: LiveTask) -> None:
        self.touch(task)
        if self.on_change is not None:
            self.on_change(task)

    # --- the queues ---

    def waits(self, lane: Lane) -> bool:
        """Whether a task waits in this lane, as far as is known without reading the disk."""
        return not self.queues[lane].empty

    @property
    def crowded(self) -> bool:
        """Whether more than CROWD tasks are ready in a lane (see ready_queue.py)."""
        return any(self.queues[lane].crowded for lane in READY)

    def take(self, lane: Lane, count: int = 1) -> list[LiveTask]:
        """Take the first ready tasks of a lane out of its queue, at most `count`; none only if it is empty."""
        queue, tasks, of = self.queues[lane], self.tasks, self.tasks.get
        while keys := queue.take(count, self._stands):
            if not all(key[9:] in tasks for key in keys):
                self._fetch(keys + queue.coming(FETCHED))
            taken = [task for key in keys if (task := of(key[9:]) or self._at(key)) is not None]
            if taken:
                return taken
        return []

    def put_back(self, lane: Lane, task: LiveTask) -> None:
        """Undo `take` for a task: it is the first of its lane again."""
        assert task.key is not None
        self.queues[lane].put_back(task.key)

    def next_due(self) -> float | None:
        """When the first delayed task is due."""
        key = self.queues[Lane.DELAYED].peek(self._stands)
        return None if key is None else due_of(key)

    def release_due(self, now: float, most: int) -> int:
        """Move delayed tasks that are due by `now` to their lanes, at most `most`; how many."""
        queue = self.queues[Lane.DELAYED]
        for count in range(most):
            key = queue.peek(self._stands)
            if key is None or due_of(key) > now:
                return count
            queue.pop(self._stands)
            task = self._at(key)
            if task is not None:
                task.record.due = None
                self.stand(task)
        return most

    def reprioritise(self, task: LiveTask) -> None:
        """Its lane or its sort has changed while it is queued."""
        self._leave_queue(task)
        self.stand(task)

    def running_at_boot(self) -> list[LiveTask]:
        """The tasks that were running when the last supervisor of this home ended."""
        rows = self._commits.scan(Table.LIVE, live_key(Lane.RUNNING, 0, b""), live_key(Lane.SYNC, 0, b""))
        return [task for key, _ in rows if (task := self._at(key)) is not None]

    def stand(self, task: LiveTask) -> None:
        """Put a task that is on no worker into its queue."""
        task.record.place = place = _place_of(task)
        task.key = key = live_key(*place, task.id)
        self.queues[place[0]].push(key)
        self._changed(task)
        self.on_queued()

    def _leave_queue(self, task: LiveTask) -> None:
        key = task.key
        if key is not None and key[0]:
            self.queues[key[0]].discard(key)

    def _stands(self, key: bytes) -> bool:
        """Whether a key read from disk still is where its task stands; changes not yet committed are in memory."""
        task = self.tasks.get(live_id(key))
        return task is None or task.key == key

    def _at(self, key: bytes) -> LiveTask | None:
        """The task of a live row. A row without a task is damage and is removed, so that the queue goes on.

        A task whose record cannot be read is left out; its row stays on disk for `understudy check`.
        """
        try:
            task = self.find(live_id(key))
        except (StoreCorrupt, *DAMAGED):
            log.exception("task %s is left out of the line, as its rows are damaged", live_id(key).hex())
            return None
        if task is None or task.key != key:
            log.error("a row of the line belongs to no task that stands there, and is removed: %s", key.hex())
            self._commits.delete(Table.LIVE, key)
            return None
        return task

    def _reader_of(self, lane: Lane) -> Callable[[bytes, int], list[bytes]]:
        first, end = live_key(lane, 0, b""), live_key(lane + 1, 0, b"")

        def read_after(key: bytes, count: int) -> list[bytes]:
            start = key + b"\0" if key else first
            return [row for row, _ in self._commits.scan(Table.LIVE, start, end, count)]

        return read_after

    # --- writing ---

    def write(self) -> None:
        """Put the dirty tasks into the open batch; runs just before the batch is sealed."""
        if self._loaded:
            self._let_go_of_loaded()
        dirty = self._dirty
        if not dirty:
            return
        self._dirty = []
        self._batch = batch = self._batch + 1
        tasks: dict[bytes, bytes | None] = {}
        live: dict[bytes, bytes | None] = {}
        ended: list[LiveTask] = []
        for task in dirty:
            task.dirty = False
            task.batch = batch
            if task.record.ended is not None:
                ended.append(task)
            if task.attempt is None or task.attempt.shown:
                if task.attempt is not None:
                    _note_tries(task)
                row, key = task.record.pack(), task.key
            else:
                row, key = _as_queued(task)
            tasks[task.id] = row
            if key != task.stored_key:
                if task.stored_key is not None:
                    live[task.stored_key] = None
                if key is not None:
                    live[key] = b""
                task.stored_key = key
        self._merge(tasks, live)
        for keep, ids in self._expiring.items():
            rows = expiry_rows(time.time() + keep, ids)
            self._commits.store.batch.merge(Table.EXPIRY, rows, EXPIRY_KEY_BYTES * len(ids))
        self._expiring.clear()
        self._commits.after_commit(lambda: self._written(dirty, ended, batch))

    def _merge(self, tasks: dict[bytes, bytes | None], live: dict[bytes, bytes | None]) -> None:
        """Rows of the two tables for the open batch."""
        batch = self._commits.store.batch
        batch.merge(Table.TASKS, tasks, sum(map(len, filter(None, tasks.values()))) + ID_BYTES * len(tasks))
        batch.merge(Table.LIVE, live, LIVE_KEY_BYTES * len(live))

    def _written(self, tasks: list[LiveTask], ended: list[LiveTask], batch: int) -> None:
        """After the commit: release what need not be in memory, and report the tasks that ended."""
        self._on_disk = batch
        # A task that has changed since comes again with a later batch.
        ended = [task for task in ended if not task.dirty and task.batch == batch]
        for task in ended:
            self.tasks.pop(task.id, None)
        for lane, queue in self.queues.items():
            # A lane without a horizon keeps everything in memory.
            if queue.horizon is not None:
                standing = [
                    e for e in tasks if e.key and e.key[0] == lane and not e.dirty and e.batch == batch
                ]
                queue.committed(e.key for e in standing if e.key)
                self._let_go(queue, standing)
        if ended:
            self.on_ended(ended)
        for queue in self.queues.values():
            for key in queue.cut(self._is_written):
                if self._is_written(key):
                    self.tasks.pop(live_id(key), None)

    def _let_go_of_loaded(self) -> None:
        """Release tasks that were only read; changed ones are released after their commit."""
        loaded, self._loaded = self._loaded, []
        for task in loaded:
            key = task.key
            if key is not None and key[0] and not task.dirty and task.batch <= self._on_disk:
                self._let_go(self.queues[key[0]], [task])

    def _let_go(self, queue: ReadyQueue, tasks: list[LiveTask]) -> None:
        """Release those of these tasks that are behind the queue's horizon."""
        for task in tasks:
            if task.attempt is None and task.key and not queue.holds(task.key):
                self.tasks.pop(task.id, None)

    def _is_written(self, key: bytes) -> bool:
        task = self.tasks.get(live_id(key))
        written = task is None or (not task.dirty and task.batch <= self._on_disk)
        return written and not self._commits.store.pending(Table.LIVE, key)


_RUNNING: Place = (int(Lane.RUNNING), 0)
_RUNNING_PREFIX = live_key(*_RUNNING, b"")[:-ID_BYTES]


def _note_tries(task: LiveTask) -> None:
    """Store how many attempts the retry policy allows. Rows of quick tasks that complete stay without it."""
    tries = task.options.retry.attempts + 1
    if task.record.tries != tries:
        task.record.tries = tries


def _as_queued(task: LiveTask) -> tuple[bytes, bytes]:
    """The record and the live row of a task on its way to a worker, as queued.

    It may be taken back until it is known to have begun. A reader that had seen it run would then see it queued again
    without an interruption.
    """
    record = task.record
    handed = record.started, record.pid
    place = _place_of(task)
    record.state, record.place = State.QUEUED, place
    record.started = record.pid = None
    row = record.pack()
    record.state, record.place = State.RUNNING, _RUNNING
    record.started, record.pid = handed
    return row, live_key(*place, task.id)


def _place_of(task: LiveTask) -> Place:
    """The place in the `live` table of a task that is on no worker."""
    return _place_in_line(task.record, task.options, task.lane)


def _place_in_line(record: Record, options: Options, lane: Lane) -> Place:
    if record.due is not None:
        return Lane.DELAYED, due_sort(record.due)
    return lane, ready_sort(options.priority)

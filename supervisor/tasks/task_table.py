"""The table of live tasks: it finds tasks, and every change of a task goes through it.

A task is in memory while it is about to run, runs, or has an unwritten change. All others are rows on disk; `find`
reads one when it is asked for. The table has the queues (`Queues`) and writes changes with the next commit
(`WriteBehind`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from ...actors.errors import StoreCorrupt, TaskNotFound
from ...actors.ids import id_text
from ...actors.state import Event, State
from ...actors.task.trigger import EVENT, HTTP
from ...storage.tables.actor_rows import first_with_letters
from ...storage.tables.attempt_rows import INTERRUPTED, KEPT, Run, number_of, run_key
from ...storage.tables.index_rows import single
from ...storage.tables.moves import RETRIED, shown
from ...storage.tables.record import Record
from ...storage.tables.schema import (
    ID_BYTES,
    MAX_PRIORITY,
    Lane,
    Table,
    after_prefix,
    live_key,
    mail_key,
    mail_keys,
)
from ..rules.verdict import ErrorRow
from ..settings import Settings
from .catalog import Declared, TaskCatalog
from .commit_loop import CommitLoop
from .ends import Ends
from .kept_steps import KeptSteps
from .letter_box import LetterBox
from .live_actor import LiveActor
from .live_task import LiveTask, place_of
from .pool_lanes import ABSENT
from .queues import DAMAGED, Queues
from .ready_queue import ReadyQueue
from .unique_tasks import UniqueTasks
from .write_behind import WriteBehind

log = logging.getLogger("understudy")

#: The lane of tasks that wait at a limit, as a plain number: it is compared for each task.
GATE: Final = int(Lane.GATE)
#: The attempt with which a task enters the index of those that have been retried.
SECOND: Final = 2


#: How an attempt has ended, by the event that would have ended its task.
_ENDED_AS: Final = {
    Event.COMPLETE: State.COMPLETED,
    Event.CANCEL: State.CANCELLED,
    Event.TIME_OUT: State.TIMED_OUT,
}
_FAILURES: Final = frozenset((State.FAILED, State.TIMED_OUT))


class TaskTable:
    """The live tasks, by id."""

    def __init__(self, commits: CommitLoop, settings: Settings | None = None) -> None:
        self._commits = commits
        self.tasks: dict[bytes, LiveTask] = {}
        #: What tasks there are.
        self.declared = TaskCatalog(settings)
        self.queues = Queues(
            commits, self.tasks, self.declared, self.find, self._fetch, self.stand, self.declared.pools
        )
        self.gate = self.queues.gate
        self.gate.declare()
        self.writes = WriteBehind(commits, self.tasks, self.queues)
        self.touch = self.writes.touch
        #: Called with every change of state, as it is made.
        self.on_change: Callable[[LiveTask], None] | None = None
        #: Who is told of the ends of tasks.
        self.ends = Ends()
        self.writes.on_ended = self.ends.written
        #: Which tasks have the texts of unique ones.
        self.unique = UniqueTasks(commits, self)
        #: Called before a child of a supervision tree ends: whether the tree keeps it, for another attempt.
        self.keeps: Callable[[LiveTask, Event, ErrorRow | None], bool] = lambda _task, _event, _error: False
        #: Called before a child of a supervision tree is queued again: whether its tree holds it.
        self.holds: Callable[[LiveTask], bool] = lambda _task: False
        #: Called with the error when an attempt is over, with RETRY or INTERRUPT if another one follows, else None.
        self.on_over: Callable[[LiveTask, Event | None, ErrorRow | None], None] = (
            lambda _task, _event, _error: None
        )
        #: Called when the app has declared tasks, or a task is not declared any more.
        self.on_declared: list[Callable[[], None]] = []
        #: Called when a task reports progress.
        self.on_progress: Callable[[LiveTask], None] | None = None
        #: Called when a task has been queued.
        self.on_queued: Callable[[], None] = lambda: None
        #: Called when a task waits for code that the app lacks, or for a pool that this supervisor lacks.
        self.on_absent: Callable[[], None] = lambda: None
        #: Called when a module of the app could not be imported.
        self.on_unimportable: Callable[[], None] = lambda: None

    def declare(self, tasks: Mapping[str, Mapping[str, Any] | Declared]) -> None:
        """Add the app's tasks. Queued tasks get the new options; a running one keeps those of its start."""
        first = not self.declared.loaded
        self.declared.loaded = True
        self.declared.add(tasks)
        self.gate.declare()
        self._declare_names(tasks, first)
        self._tell_declared()

    def _tell_declared(self) -> None:
        for told in self.on_declared:
            told()

    def import_again(self) -> None:
        """Queue the tasks whose module could not be imported: a worker tries it again."""
        self._declare_names(self.declared.import_again(), first=False)

    def _declare_names(self, tasks: Collection[str], first: bool) -> None:
        names = {*tasks, *(old for old, new in self.declared.aliases.items() if new in tasks)}
        for task in list(self.tasks.values()):
            if task.queued and task.key is not None and (first or task.record.name in names):
                with self.one(task):
                    self._settle(task)
        # What is about to be written cannot be found before it is on disk.
        self._commits.after_commit(lambda: self._code_came(names))

    def _code_came(self, names: Iterable[str]) -> None:
        if self.queues.code_came(names):
            self.on_absent()
            self.on_queued()

    def queue_declared(self, most: int) -> None:
        """Queue some of the tasks whose code has come, at most `most`."""
        for task in self.queues.take_declared(most):
            with self.one(task):
                self._settle(task)

    def _settle(self, task: LiveTask) -> None:
        """Give a queued task the name, the options and the place that the app's declaration says."""
        record = task.record
        record.name = self.declared.present(record.name)
        lane = task.lane
        task.options, task.lane = self.declared.options_of(record)
        if isinstance(task, LiveActor):
            task.rules = self.declared.rules_of(record.name)
            if task.lane is not lane and record.state is State.QUEUED:
                self.queues.discard(task)
                self.queues.push(task)
            return
        group = self.gate.group_of(record, task.args)
        if group is not task.group:
            self.gate.leave(task)
            task.group = group
        if record.place != task.place():
            self.queues.discard(task)
            self.stand(task)

    def undeclare(self, name: str, why: str = "") -> None:
        """A worker has no code for this task, though the app declared it: its tasks wait for code. `why` says why it
        could not be imported, if that is the reason."""
        self.declared.drop(name, why)
        self.queues.code_went(name)
        self._tell_declared()
        if why:
            self.on_unimportable()

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
            raise _damaged(id, error) from error

    def known(self, id: bytes) -> Record:
        """As `record`; TaskNotFound if there is no such task."""
        record = self.record(id)
        if record is None:
            raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
        return record

    def _load(self, record: Record) -> LiveTask:
        try:
            task = self._take_in(record, self._commits.get(Table.ARGS, record.id), stored=True)
        except ValueError as error:
            raise _damaged(record.id, error) from error
        self.writes.loaded(task)
        return task

    def load_actors(self, ids: Iterable[bytes]) -> None:
        """Read these actors, unless they are in memory, all at once: a third of the time of one by one.

        Damaged and missing ones, and those that have ended, are left to `find`.
        """
        missing = sorted({id for id in ids if id not in self.tasks})
        if not missing:
            return
        rows = self._commits.get_many(Table.TASKS, missing)
        args = self._commits.get_many(Table.ARGS, missing)
        with_letters = first_with_letters(self._commits.scan, missing[0], missing[-1])
        for id, row in rows.items():
            try:
                record = Record.unpack(id, row)
                if record.ended is None and record.actor is not None:
                    has_letters = with_letters is not None and id >= with_letters
                    self.writes.loaded(self._take_in(record, args.get(id), stored=has_letters))
            except DAMAGED:
                continue

    def _take_in(self, record: Record, args: bytes | None, *, stored: bool) -> LiveTask:
        """`stored`: whether it may have messages or a log on disk."""
        declared = self.declared
        facts = shown(record)
        if declared.aliases:
            record.name = declared.present(record.name)
        is_usual = record.options is None and not record.alone and record.kind != HTTP and record.pool is None
        usual = declared.usual.get(record.name) if is_usual else None
        options, lane = usual[:2] if usual is not None else declared.options_of(record)
        task: LiveTask
        if record.actor is None:
            task = LiveTask(record, options, lane, stored=stored)
            if record.name in declared.limits and record.ended is None:
                task.group = self.gate.group_of(record, args)
        else:
            store = self._commits.store
            box = LetterBox.load(store, record.id) if stored else LetterBox(store, record.id, durable=True)
            task = LiveActor(record, options, lane, declared.rules_of(record.name), box)
        if record.place is not None:
            task.key = task.stored_key = live_key(*record.place, record.id)
        task.stored_facts = facts
        task.args = args
        if record.steps is not None:
            task.steps = KeptSteps(self._commits.store, record.id)
        place = record.place
        if record.ended is None and (
            place is None or (place[0] == Lane.RUNNING) != (record.state is State.RUNNING)
        ):
            raise ValueError(f"a task that is {record.state} cannot stand in {place}")
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
        # Nearly no queued task has messages or a log: one look for all of them together, instead of one for
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

    def take_in_actor(self, actor: LiveActor) -> None:
        """Add a new actor, which is at rest, and write it with the next commit."""
        self.tasks[actor.id] = actor
        actor.stand()
        self._changed(actor)

    def add(self, new: Iterable[tuple[Record, bytes | None]]) -> None:
        """Queue new tasks with their arguments, and write them with the next commit."""
        tasks, touch, usual_of = self.tasks, self.touch, self.declared.usual
        queue_of_lane, queue_at = self.queues.lanes.get, self.queues.queue_at
        keys: dict[ReadyQueue, list[bytes]] = {}
        far: dict[ReadyQueue, list[tuple[bytes, Record]]] = {}
        for record, args in new:
            id = record.id
            if record.stream != id:
                self._join(record)
            is_usual = record.options is None and record.due is None and record.kind != HTTP
            usual = usual_of.get(record.name) if is_usual else None
            group = place = None
            if usual is not None:
                options, lane, place = usual
            else:
                options, lane = self.declared.options_of(record)
            if place is None:
                group = self.gate.group_of(record, args)
                if group is not None and usual is not None and options.pool is None:
                    place = GATE, group.sort + MAX_PRIORITY - options.priority
                else:
                    place = place_of(record, options, lane, group)
                if options.pool is not None:
                    record.pool = options.pool
                if place[0] in ABSENT:
                    self.on_absent()
            if args is not None:
                self._commits.put(Table.ARGS, id, args)
            record.place = place
            key = live_key(*place, id)
            queue = queue_of_lane(place[0])
            if queue is None:
                queue = self.gate.queue_for(group) if group is not None else queue_at(key)
            if queue.horizon is not None and key > queue.horizon and self.on_change is None:
                far.setdefault(queue, []).append((key, record))
                continue
            tasks[id] = task = LiveTask(record, options, lane, stored=False)
            task.args = args
            task.key = key
            task.group = group
            keys.setdefault(queue, []).append(key)
            touch(task)
            if self.on_change is not None:
                self.on_change(task)
        for queue, more in keys.items():
            queue.extend(more)
        for queue, rows in far.items():
            self.writes.write_far(queue, rows)
        self.on_queued()

    def _join(self, record: Record) -> None:
        """This task is not alone in its stream, and neither is the one that began the stream, or that started it."""
        if record.origin is not None:
            origin = self.tasks.get(record.origin)
            if origin is not None:
                origin.told = True
        elif record.kind != EVENT:
            self.joined(record.stream)

    def joined(self, id: bytes) -> None:
        """Others have come into the stream of this task, if there is one and it has not ended."""
        with suppress(StoreCorrupt):
            first = self.find(id)
            if first is not None and not first.told:
                first.told = first.record.joined = True
                self.touch(first)

    def stand(self, task: LiveTask) -> None:
        """Put a task that is on no worker into its queue."""
        if isinstance(task, LiveActor):
            self.queues.push(task)
            return
        task.stand()
        if task.passed and task.key is not None and task.key[0] != Lane.GATE:
            self.gate.leave(task)
        self.queues.push(task)
        self._changed(task)
        if task.lane in ABSENT:
            self.on_absent()
        self.on_queued()

    def begin(self, tasks: Iterable[LiveTask], pid: int, now: float) -> None:
        """They are handed to a worker."""
        for task in tasks:
            task.begin(pid, now)
            if task.passed:
                self.gate.handed(task)
            # This does not make it dirty: most tasks end before a reader could see that they run. `touch` follows if
            # this one does not. Until then the disk says "queued", and a crash would start it again from there.
            if self.on_change is not None and not task.rests:
                self.on_change(task)

    def requeue(
        self,
        task: LiveTask,
        event: Event,
        *,
        error: ErrorRow | None = None,
        due: float | None = None,
        ended_as: State = State.FAILED,
    ) -> None:
        """It has left its worker and is queued again: an interruption, or a retry with its `due` time.

        `ended_as`: how the attempt that another one follows has ended. One of a tree's children may have ended well.
        """
        record, now = task.record, self._commits.clock.time()
        if record.tree is not None and self.holds(task):
            record.held, due = True, None
        if event is Event.RETRY:
            if ended_as in _FAILURES:
                self.writes.tallies.retried(record, now)
            outcome = str(ended_as)
        else:
            outcome = INTERRUPTED
        self._note_run(record, outcome, record.pid, now, error)
        self.on_over(task, event, error)
        self.gate.leave(task)
        task.requeue(event, error, due)
        if event is Event.RETRY and record.attempt == SECOND:
            self._commits.put(Table.INDEX, single(RETRIED, record.id), b"")
        record.ready = now if due is None else due
        task.options, task.lane = self.declared.options_of(record)
        task.group = None if task.rests else self.gate.group_of(record, task.args)
        self.stand(task)

    def _note_run(
        self, record: Record, outcome: str, pid: int | None, ended: float, error: ErrorRow | None = None
    ) -> None:
        """Keep what the record will not say any more of the run that has ended."""
        number = number_of(record)
        run = Run(record.attempt, outcome, record.started, ended, pid, error)
        self._commits.put(Table.ATTEMPTS, run_key(record.id, number), run.pack())
        if number > KEPT:
            self._commits.delete(Table.ATTEMPTS, run_key(record.id, number - KEPT))

    @contextmanager
    def one(self, task: LiveTask) -> Iterator[None]:
        """Change one of several tasks. An error sets this one aside and goes no further, so that the others go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must go on
            self.set_aside(task, error)

    def set_aside(self, task: LiveTask, error: Exception) -> None:
        """A change of this task has failed: it does nothing more before the next start of the supervisor, unless it
        is cancelled."""
        log.error(
            "task %s (%s) is set aside, because a change of it failed",
            id_text(task.id), task.record.name, exc_info=error,
        )  # fmt: skip
        self.queues.discard(task)
        task.set_aside()

    def hold(self, task: LiveTask) -> None:
        """Let a task that is on no worker wait until its supervision tree starts it again."""
        self.queues.discard(task)
        task.record.held, task.record.due = True, None
        self.stand(task)

    def restart(self, task: LiveTask) -> None:
        """Let a task that its supervision tree has held begin as soon as it can."""
        task.restart(self._commits.clock.time())
        task.options, task.lane = self.declared.options_of(task.record)
        self.stand(task)

    def take_back(self, task: LiveTask) -> None:
        """It was handed out and had not begun: as if it had never left its queue."""
        task.take_back()
        self.stand(task)

    def release(self, task: LiveTask) -> None:
        """Let a delayed task begin as soon as it can."""
        task.record.due = None
        self.queues.discard(task)
        self.stand(task)

    def release_due(self, now: float, most: int) -> int:
        """Move delayed tasks that are due by `now` to their lanes, at most `most`; how many."""
        due = self.queues.take_due(now, most)
        for task in due:
            with self.one(task):
                task.record.ready, task.record.due = task.record.due, None
                self.stand(task)
        return len(due)

    def end(
        self, task: LiveTask, event: Event, *, error: ErrorRow | None = None, value: bytes | None = None
    ) -> None:
        """It has ended; its state never changes again.

        The messages of a task that has completed are removed. Otherwise a retry may still need those that are not
        acknowledged: they are kept as long as the record.
        """
        queue, key, record = self.queues.of(task), task.key, task.record
        if record.tree is not None and self.keeps(task, event, error):
            self.requeue(task, Event.RETRY, error=error, ended_as=_ENDED_AS.get(event, State.FAILED))
            return
        ran, pid = task.attempt is not None and not task.rests, record.pid
        if task.passed:
            self.gate.leave(task)
        task.end(event, error, value, self._commits.clock.time())
        if ran and number_of(record) > 1 and record.ended is not None:
            self._note_run(record, str(record.state), pid, record.ended)
        if queue is not None and key is not None:
            queue.discard(key)
        if value is not None:
            self._commits.put(Table.RESULTS, task.id, value)
        if event is Event.COMPLETE and (task.mailbox is not None or task.stored) and not task.rests:
            self._clear_mail(task)
        if task.told:
            self.on_over(task, None, error)
        self.writes.expire(task)
        self._changed(task)
        if self.ends.of_all or not self.ends.facts.isdisjoint(record.__dict__):
            self.ends.tell(task, event, error)

    def _clear_mail(self, task: LiveTask) -> None:
        mailbox, id = task.mailbox, task.id
        if mailbox is not None:
            self._commits.store.batch.remove(Table.MAIL, mail_keys(id, mailbox.first, mailbox.last))
        elif task.stored:
            for key, _ in self._commits.scan(Table.MAIL, mail_key(id, 0), mail_key(id, (1 << 64) - 1)):
                self._commits.delete(Table.MAIL, key)

    def _changed(self, task: LiveTask) -> None:
        self.touch(task)
        if self.on_change is not None:
            self.on_change(task)


def _damaged(id: bytes, error: ValueError) -> StoreCorrupt:
    return StoreCorrupt(
        f"the record of task {id_text(id)} is damaged; run `understudy check`", problems=[str(error)]
    )

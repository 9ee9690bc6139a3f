"""The attempts under way: they begin, are timed, signalled and killed, and are judged when they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from ...actors.attempt.host import Ending, Outcome
from ...actors.errors import AppFailed, ProtocolError, TaskNotFound, UnderstudyError
from ...actors.ids import id_text
from ...actors.state import Event
from ...storage.tables.schema import Lane, Table
from ..channel.interface import HANDED, Frame
from ..linux.processes import ExitStatus
from ..rules.pace import Paces
from ..rules.pauses import was_paused
from ..rules.report_checks import (
    check_checkpoint,
    check_done,
    check_failure,
    check_items,
    check_lines,
    check_progress,
    check_ready,
)
from ..rules.verdict import acknowledges, completes, error_row, judge
from ..settings import Settings
from ..tasks.attempt import Attempt, due_of
from ..tasks.commit_loop import CommitLoop
from ..tasks.events import Events
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.mailboxes import Mailboxes
from ..tasks.stream_items import StreamItems
from ..tasks.task_log import Line, TaskLog, attempt_mark
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from ..wire.messages import Report
from .deaths import Deaths
from .step_keeper import StepKeeper
from .turns import Turns
from .verdicts import Verdicts
from .worker_seat import WorkerSeat

log = logging.getLogger("understudy")

_ENDINGS: Final = tuple(Ending)

#: Seconds after which a task that was handed out is expected to have begun, and between two looks at that. A quarter
#: of what is promised.
LOOK_AFTER: Final = 0.025


class Attempts:
    """Receives the reports of workers (`WorkerEvents`), and the demands of users and clocks on running tasks."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        mailboxes: Mailboxes,
        events: Events,
        items: StreamItems,
        turns: Turns,
        settings: Settings,
        turn: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._table = table
        self._mailboxes = mailboxes
        self._events = events
        self._items = items
        self._turns = turns
        self._settings = settings
        #: Asks for a turn of the loop, in which changes are carried out.
        self._turn = turn
        #: Called when an attempt may have left something outside of its worker.
        self.on_left_behind: Callable[[], None] = lambda: None
        #: Called when a worker has died that the supervisor has not ended itself.
        self.on_death: Callable[[int, ExitStatus], None] = lambda _pid, _status: None
        #: Called when a child of a supervision tree has begun, and with True when it says that it is ready.
        self.on_ready: Callable[[LiveTask, bool], None] = lambda _task, _ready: None
        #: Called with what a worker says of the stack of a task.
        self.on_stack: Callable[[WorkerSeat, Any, Any], None] = lambda _seat, _number, _rows: None
        #: What attempts of each task lately took.
        self.paces = Paces()
        self._verdicts = Verdicts(commits, table, turns, settings)
        self._deaths = Deaths(commits, table, turns, self._verdicts, settings, self._leave_behind)
        steps = StepKeeper(commits, table, settings)
        self._on: dict[int, Callable[..., None]] = {
            Report.DONE: self._done,
            Report.PARKED: self._parked,
            Report.TAKEN: self._taken,
            Report.CHECKPOINT: self._checkpoint,
            Report.RESTORE: self._restore,
            Report.PROGRESS: self._progress,
            Report.LOG: self._log,
            Report.PUBLISH: self._publish,
            Report.FAILED: self._failed,
            Report.READY: self._ready,
            Report.STACK: self._stack,
            Report.TURN: turns.commit,
            Report.READ: turns.read,
            Report.STEP: steps.keep,
            Report.STEPS: steps.read,
            Report.ASIDE: turns.answered_aside,
        }

    # --- out to a worker, and back without having begun ---

    def hand(self, seat: WorkerSeat, lane: Lane, tasks: list[LiveTask]) -> None:
        """Hand ready tasks to a worker."""
        now = self._commits.clock.time()
        if actors := [task for task in tasks if isinstance(task, LiveActor)]:
            self._turns.prepare(actors, seat)
        seat.hand(lane, tasks, self._loop.time())
        self._table.begin(tasks, seat.pid, now)
        for task in tasks:
            # The messages of an actor are in its assignment.
            if not isinstance(task, LiveActor) and (
                task.stored or task.mailbox is not None or task.record.closed
            ):
                self._mailboxes.open(task)

    def take_back(self, seat: WorkerSeat, lane: Lane) -> list[LiveTask]:
        """Put every task of the lane that the worker has not begun back into its queue: at once, or by `took_back`."""
        back = seat.take_back(lane)
        if back is None:
            return []
        self._put_back(seat, lane, back)
        return back

    def took_back(self, seat: WorkerSeat, lane: Lane, count: int) -> None:
        """See `WorkerEvents`."""
        self._put_back(seat, lane, seat.last(lane, count))
        self._turn()

    def _put_back(self, seat: WorkerSeat, lane: Lane, back: list[LiveTask]) -> None:
        """These tasks have not begun; all others of the lane have."""
        for task in back:
            seat.drop(task)
            try:
                if isinstance(task, LiveActor):
                    self._turns.took_back(task)
                elif task.record.cancel:
                    # The cancel was accepted while the worker was asked for the task.
                    self._table.end(task, Event.CANCEL)
                else:
                    self._table.take_back(task)
            except Exception as error:  # noqa: BLE001 - whatever it is, the others must go on
                self._table.set_aside(task, error)
        for task in list(seat.handed[lane].values()):
            self.begun(seat, lane, task)

    def begun(self, seat: WorkerSeat, lane: Lane, task: LiveTask) -> None:
        """A task that was handed out has begun: its timeout counts from here."""
        del seat.handed[lane][task.id]
        attempt = task.attempt
        assert attempt is not None
        attempt.begun = True
        if task.counts:
            self._table.gate.begun(task, self._loop.time())
        self._table.touch(task)
        timeout = task.options.timeout
        if timeout is not None and attempt.signal is None:
            # It may have waited on the worker, but was seen to have begun at the last look.
            begun_at = max(attempt.handed_at, self._loop.time() - 2 * LOOK_AFTER)
            attempt.deadline = self._loop.call_at(begun_at + timeout, self._time_out, task, attempt)

    # --- stopping ---

    def cancel(self, id: bytes) -> bool:
        """Cancel a task; whether it had not ended. TaskNotFound."""
        task = self._table.find(id)
        if task is None:
            self._table.known(id)
            return False
        if task.attempt is not None and not task.attempt.begun:
            seat = _seat_of(task.attempt)
            self.take_back(seat, seat.lane_of(task))
        if task.attempt is None:
            if isinstance(task, LiveActor):
                self._turns.cancel(task)
            else:
                self._table.end(task, Event.CANCEL)
                self._leave_behind(task)
            return True
        # Its tree may have asked it to stop, and wait for it without end.
        if not task.record.cancel or task.attempt.kill is None:
            task.record.cancel = True
            self._table.touch(task)
            self._signal(task, task.attempt, "cancel")
        else:
            # Its tree may have asked it before, and give it longer than its grace.
            self._kill_within(task, task.attempt, task.options.grace, by_tree=False)
        return True

    def stop(self, task: LiveTask, within: float | None, *, ends: bool) -> None:
        """Stop a child of a supervision tree: for good if it `ends`, else until its tree starts it again.

        It is asked as for a cancel, and killed after `within` seconds. If that is None, only its timeout or a cancel
        ends it in spite of itself.
        """
        if task.attempt is not None and not task.attempt.begun:
            seat = _seat_of(task.attempt)
            self.take_back(seat, seat.lane_of(task))
        if ends:
            task.record.cancel = True
            self._table.touch(task)
        attempt = task.attempt
        if attempt is None:
            if isinstance(task, LiveActor):
                self._turns.cancel(task)
            elif ends:
                self._table.end(task, Event.CANCEL)
                self._leave_behind(task)
            else:
                self._table.hold(task)
        elif within == 0:
            attempt.signal = "cancel"
            self.kill(_seat_of(attempt), task, "cancel")
        else:
            self._signal(task, attempt, "cancel", within, by_tree=True)

    def _leave_behind(self, task: LiveTask) -> None:
        if task.kind.leaves_behind:
            self.on_left_behind()

    def _time_out(self, task: LiveTask, attempt: Attempt, second_chance: bool = True) -> None:
        if attempt.kill is not None:
            return
        timeout = task.options.timeout
        # Once only: on a machine so busy that every clock is late, what runs is to be stopped all the same.
        if timeout is not None and second_chance and was_paused(due_of(attempt.deadline), self._loop.time()):
            attempt.deadline = self._loop.call_later(timeout, self._time_out, task, attempt, False)
        else:
            self._signal(task, attempt, attempt.signal or "timeout")

    def _signal(
        self,
        task: LiveTask,
        attempt: Attempt,
        reason: str,
        grace: float | None = -1,
        *,
        by_tree: bool = False,
    ) -> None:
        """Ask the task to stop, and have it killed after its grace: by default the declared one, not if it is None.
        A cancel overrides a timeout, not its clock."""
        attempt.signal = reason
        channel = attempt.seat.channel
        channel.signal(task.id, reason)
        channel.flush()
        grace = task.options.grace if grace == -1 else grace
        if grace is not None:
            self._kill_within(task, attempt, grace, by_tree=by_tree)

    def _kill_within(self, task: LiveTask, attempt: Attempt, grace: float, *, by_tree: bool) -> None:
        """Have it killed after its grace, unless that is to happen sooner."""
        if attempt.kill is not None:
            if attempt.kill.when() <= self._loop.time() + grace:
                return
            attempt.kill.cancel()
        attempt.kill = self._loop.call_later(grace, self._condemn, task, attempt, grace, by_tree)

    def _condemn(
        self, task: LiveTask, attempt: Attempt, grace: float, by_tree: bool, second_chance: bool = True
    ) -> None:
        if second_chance and was_paused(due_of(attempt.kill), self._loop.time()):
            attempt.kill = self._loop.call_later(grace, self._condemn, task, attempt, grace, by_tree, False)
            return
        seat, reason = _seat_of(attempt), attempt.signal
        assert reason is not None
        if not seat.condemned:
            # Once for a worker, whichever of its tasks it is killed for first.
            log.warning(
                "task %s (%s) did not stop within %s: killing worker %d",
                task.record.name,
                id_text(task.id),
                f"the {grace:g} s that its supervision tree gave it"
                if by_tree
                else f"its grace of {grace:g} s after its {reason}",
                seat.pid,
            )
        self.kill(seat, task, reason)

    def kill(self, seat: WorkerSeat, task: LiveTask, reason: str) -> None:
        """Kill a worker for the sake of one task; the others on it are interrupted."""
        seat.condemned[task.id] = reason
        seat.retiring = True
        seat.channel.kill()

    # --- reports ---

    def reported(self, seat: WorkerSeat, frame: Frame) -> None:
        """See `WorkerEvents`."""
        self._on[frame[0]](seat, *frame[1:])
        self._turn()

    def ready(self, seat: WorkerSeat) -> None:
        """See `WorkerEvents`."""
        self._turn()

    def _done(self, seat: WorkerSeat, rows: Any) -> None:
        tasks, learn = seat.tasks, self.paces.learn
        # Before anything is changed: an invalid row ends the worker, and must not lose the task.
        check_done(rows)
        for id, ending, value, error, delay, acked, started, ended in rows:
            task = tasks.get(id)
            if task is None:
                continue
            attempt = task.attempt
            assert attempt is not None
            # The worker's clock may have been set back meanwhile.
            seconds = ended - started if ended > started else 0.0
            seat.drop(task)
            seat.done += 1
            record = task.record
            learn(record.name, seconds)
            record.started = started
            if task.counts:
                at = self._loop.time() - max(0.0, self._commits.clock.time() - started)
                self._table.gate.begun(task, max(at, attempt.handed_at))
            how, timed_out = _ENDINGS[ending], attempt.signal == "timeout"
            try:
                if isinstance(task, LiveActor):
                    if how is Ending.UNDECLARED:
                        self._undeclared(seat, record.name, error)
                    self._turns.done(task, how, value, error_row(error), delay)
                    continue
                if task.mailbox is not None and acknowledges(how, timed_out=timed_out):
                    self._mailboxes.acknowledge(task, acked)
                if completes(how, cancelled=record.cancel, timed_out=timed_out):
                    self._table.end(task, Event.COMPLETE, value=value)
                    continue
                if how is Ending.UNDECLARED:
                    self._undeclared(seat, record.name, error)
                verdict = judge(
                    Outcome(how, value, error, delay),
                    task.options,
                    record.attempt,
                    cancelled=record.cancel,
                    timed_out=timed_out,
                    delays_from=self._verdicts.delays_from(task, seconds),
                    tries_from=record.tries_from,
                )
                self._verdicts.carry_out(task, verdict, value)
            except Exception as error:  # noqa: BLE001 - the report is sound, and so are the tasks after this one
                self._table.set_aside(task, error)

    def _undeclared(self, seat: WorkerSeat, name: str, error: Sequence[Any] | None) -> None:
        # Its worker may have had several tasks of this name.
        if self._table.declared.places(name):
            why = "" if error is None else str(error[1]).partition("\n")[0]
            log.warning(
                "worker %d has no code for task %s, which waits for it now%s",
                seat.pid,
                name,
                why and f": {why}",
            )
            self._table.undeclare(name, why)

    def _parked(self, seat: WorkerSeat, waiting: Any, going_on: Any) -> None:
        for ids, parked in ((waiting, True), (going_on, False)):
            for id in ids:
                task = seat.tasks.get(id)
                if task is not None:
                    seat.set_parked(task, parked)
                    if parked and isinstance(task, LiveActor):
                        self._turns.letters.parked(task)

    def _taken(self, seat: WorkerSeat, rows: Any) -> None:
        for id, taken, acked in rows:
            task = seat.tasks.get(id)
            if isinstance(task, LiveActor):
                task.suspect = taken
            elif task is not None:
                self._mailboxes.progress(task, taken, acked)

    def _checkpoint(
        self,
        seat: WorkerSeat,
        request: Any,
        id: Any,
        value: Any,
        acked: Any,
        posted: Any,
        items: Any = (),
        events: Any = (),
    ) -> None:
        check_checkpoint(request, value, acked, posted, self._settings.value_limit, items, events)
        task = seat.tasks.get(id)
        if task is None:
            # A thread that outlived its attempt asks; it must not wait for ever.
            seat.channel.refuse(
                request, TaskNotFound(f"this attempt at task {id_text(id)} is over", id_text(id))
            )
            return
        try:
            # Each of these changes nothing if it raises.
            emitted = self._events.prepare(events) if events else None
            self._mailboxes.send([message for messages in posted for message in messages])
        except UnderstudyError as error:
            seat.channel.refuse(request, error)
            return
        if emitted is not None:
            self._events.carry_out(emitted)
        for part in items:
            self._items.publish(task, task.record.stream, part)
        if task.attempt is not None:
            task.attempt.seen = True
        self._commits.put(Table.CHECKPOINTS, id, value)
        task.record.checkpoint = (self._commits.clock.time(), len(value))
        self._mailboxes.progress(task, acked, acked)
        self._table.touch(task)
        self._commits.after_commit(lambda: self._answer(seat, request))

    def _answer(self, seat: WorkerSeat, request: int) -> None:
        seat.channel.answer(request, None)
        seat.channel.flush()

    def _restore(self, seat: WorkerSeat, request: Any, id: Any) -> None:
        if type(request) is not int:
            raise ProtocolError(f"a request's number must be an int: {request!r:.100}")
        seat.channel.answer(request, self._commits.get(Table.CHECKPOINTS, checked_id(id)))

    def _progress(self, seat: WorkerSeat, rows: Any) -> None:
        for id, done, total, note in rows:
            check_progress(done, total, note)
            task = seat.tasks.get(id)
            if task is not None:
                if task.attempt is not None:
                    task.attempt.seen = True
                task.record.progress = (done, total, note)
                self._table.touch(task)
                if self._table.on_progress is not None:
                    self._table.on_progress(task)

    def _log(self, seat: WorkerSeat, id: Any, lines: Any) -> None:
        check_lines(lines)
        task = seat.tasks.get(id)
        if task is not None:
            if task.log is None:
                task.log = TaskLog(self._commits, id, self._settings.log_limit, stored=task.stored)
            lines = self._marked(task, lines)
            if lines:
                self._items.printed(task, task.log.append(lines), lines)

    def _ready(self, seat: WorkerSeat, id: Any, ready: Any) -> None:
        check_ready(id, ready)
        task = seat.tasks.get(id)
        if task is None or task.attempt is None:
            return
        if not task.attempt.shown:
            task.attempt.seen = True
            self._table.touch(task)
        self.on_ready(task, ready)

    def _stack(self, seat: WorkerSeat, number: Any, rows: Any) -> None:
        self.on_stack(seat, number, rows)

    def _publish(self, seat: WorkerSeat, id: Any, bodies: Any) -> None:
        check_items(bodies, self._settings.value_limit)
        task = seat.tasks.get(id)
        if task is None:
            return
        attempt = task.attempt
        if attempt is not None and not attempt.shown:
            attempt.seen = True
            self._table.touch(task)
        self._items.publish(task, task.record.stream, bodies)

    def _marked(self, task: LiveTask, lines: Sequence[Line]) -> Sequence[Line]:
        """The lines, below a mark if they are the first ones of an attempt that is not the task's first."""
        attempt, record = task.attempt, task.record
        if attempt is None or attempt.logged or not lines:
            return lines
        attempt.logged = True
        if not attempt.begun:
            # It may have been seen at a look, which writes nothing.
            attempt.seen = True
            self._table.touch(task)
        if record.attempt == 1 and (not record.interruptions or task.kind.only_waits):
            # After an interruption, a container goes on: its lines are those of the same run.
            return lines
        # At the time of its line: the follower of a container goes on at the time of the last line.
        tries = task.options.retry.attempts + 1
        return [(lines[0][0], *attempt_mark(record.attempt, tries, record.interruptions)), *lines]

    def _failed(self, seat: WorkerSeat, message: Any, trace: Any) -> None:
        check_failure(message, trace)
        seat.failure = AppFailed(message, trace)

    # --- the death of a worker ---

    def lost(self, seat: WorkerSeat) -> None:
        """See `WorkerEvents`. A worker without a connection is of no use, should it still live."""
        if not seat.stopping:
            seat.channel.kill()

    def retiring(self, seat: WorkerSeat) -> None:
        """See `WorkerEvents`."""
        for lane in HANDED:
            self.take_back(seat, lane)

    def over_memory(self, seat: WorkerSeat) -> None:
        """See `WorkerEvents`."""
        for task in list(seat.tasks.values()):
            self.kill(seat, task, "memory")

    def died(self, seat: WorkerSeat, status: ExitStatus) -> bool:
        """See `WorkerEvents`. Settles every task that the worker had."""
        for lane in seat.handed:
            self.take_back(seat, lane)
        explained = self._deaths.settle(seat, status)
        self._turns.seat_died(seat)
        if not (seat.retiring or seat.condemned):
            self.on_death(seat.pid, status)
        return explained

    def recover(self) -> int:
        """At boot: interrupt the tasks that ran under the last supervisor; how many."""
        self._turns.recover()
        self._turns.letters.recover()
        tasks = self._table.queues.running_at_boot()
        for task in tasks:
            with self._table.one(task):
                self._verdicts.interrupt(task)
        return len(tasks)


def _seat_of(attempt: Attempt) -> WorkerSeat:
    seat = attempt.seat
    assert isinstance(seat, WorkerSeat)
    return seat

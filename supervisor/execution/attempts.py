"""The attempts under way: begun, timed, signalled, killed, and judged when they end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from ...actors.attempt.host import Ending, Outcome
from ...actors.errors import ProtocolError, TaskNotFound, UnderstudyError
from ...actors.ids import id_text
from ...actors.state import Event
from ...storage.tables.schema import Lane, Table
from ..channel.interface import HANDED, Frame
from ..linux.processes import ExitStatus
from ..rules.blame import Share, blame
from ..rules.pauses import was_paused
from ..rules.report_checks import check_checkpoint, check_done, check_lines, check_progress
from ..rules.verdict import ErrorRow, Verdict, judge, judge_crash
from ..settings import Settings
from ..tasks.attempt import Attempt, due_of
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_task import LiveTask
from ..tasks.mailboxes import Mailboxes
from ..tasks.task_log import TaskLog
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from ..wire.messages import Report
from .worker_seat import WorkerSeat

log = logging.getLogger("understudy")

_ENDINGS: Final = tuple(Ending)

#: The weight of the last attempt in a task's pace.
PACE_WEIGHT: Final = 0.2
#: Seconds after which a task that was handed out is expected to have begun, and between two looks at that. A quarter
#: of what is promised.
LOOK_AFTER: Final = 0.025
#: Seconds an attempt may take to count as quick.
QUICK: Final = 0.002
#: The pace, in seconds, of a task that was never seen: long, so that it is not handed out ahead.
PACE_UNKNOWN: Final = 0.1


class Attempts:
    """What workers report arrives here, and so does what users and clocks demand of running tasks."""

    def __init__(
        self,
        journal: CommitLoop,
        book: TaskTable,
        mailroom: Mailboxes,
        settings: Settings,
        turn: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._book = book
        self._mailroom = mailroom
        self._settings = settings
        #: Asks for a turn of the loop, in which changes are carried out.
        self._turn = turn
        #: Called when an attempt may have left something outside of its worker.
        self.on_left_behind: Callable[[], None] = lambda: None
        #: Seconds that attempts of each task lately took.
        self.pace: dict[str, float] = {}
        self._on: dict[int, Callable[[WorkerSeat, tuple[Any, ...]], None]] = {
            Report.DONE: self._done,
            Report.PARKED: self._parked,
            Report.MAIL: self._mail,
            Report.CHECKPOINT: self._checkpoint,
            Report.RESTORE: self._restore,
            Report.PROGRESS: self._progress,
            Report.LOG: self._log,
        }

    # --- out to a worker, and back without having begun ---

    def is_quick(self, name: str) -> bool:
        """Whether attempts of this task lately took so little that it may be handed out ahead of free slots."""
        return self.pace.get(name, PACE_UNKNOWN) < QUICK

    def hand(self, link: WorkerSeat, lane: Lane, entries: list[LiveTask]) -> None:
        """Hand ready tasks to a worker."""
        now = time.time()
        link.hand(lane, entries, self._loop.time())
        self._book.begin(entries, link.pid, now)
        for entry in entries:
            if entry.stored or entry.mail is not None or entry.record.closed:
                self._mailroom.open(entry)

    def take_back(self, link: WorkerSeat, lane: Lane) -> list[LiveTask]:
        """Put every task of the lane that the worker has not begun back into its queue: at once, or by `took_back`."""
        back = link.take_back(lane)
        if back is None:
            return []
        self._put_back(link, lane, back)
        return back

    def took_back(self, seat: WorkerSeat, lane: Lane, count: int) -> None:
        """See `WorkerEvents`."""
        self._put_back(seat, lane, seat.last(lane, count))
        self._turn()

    def _put_back(self, seat: WorkerSeat, lane: Lane, back: list[LiveTask]) -> None:
        """These tasks have not begun; all others of the lane have."""
        for task in back:
            seat.drop(task)
            if task.record.cancel:
                # The cancel was accepted while the worker was asked for the task.
                self._book.end(task, Event.CANCEL)
            else:
                self._book.take_back(task)
        for task in list(seat.handed[lane].values()):
            self.begun(seat, lane, task)

    def begun(self, link: WorkerSeat, lane: Lane, entry: LiveTask) -> None:
        """A task handed out has begun: its time runs."""
        del link.handed[lane][entry.id]
        attempt = entry.attempt
        assert attempt is not None
        attempt.begun = True
        self._book.touch(entry)
        timeout = entry.options.timeout
        if timeout is not None and attempt.signal is None:
            # It may have waited on the worker, but was seen to have begun at the last look.
            begun_at = max(attempt.handed_at, self._loop.time() - 2 * LOOK_AFTER)
            attempt.deadline = self._loop.call_at(begun_at + timeout, self._time_out, entry, attempt)

    # --- stopping ---

    def cancel(self, id: bytes) -> bool:
        """Cancel a task; whether it had not ended. TaskNotFound."""
        entry = self._book.find(id)
        if entry is None:
            if self._book.record(id) is None:
                raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
            return False
        if entry.attempt is not None and not entry.attempt.begun:
            seat = _seat_of(entry.attempt)
            self.take_back(seat, seat.lane_of(entry))
        if entry.attempt is None:
            self._book.end(entry, Event.CANCEL)
            self._leave_behind(entry)
            return True
        if not entry.record.cancel:
            entry.record.cancel = True
            self._book.touch(entry)
            self._signal(entry, entry.attempt, "cancel")
        return True

    def _time_out(self, entry: LiveTask, attempt: Attempt, second_chance: bool = True) -> None:
        if attempt.signal is not None:
            return
        timeout = entry.options.timeout
        # Once only: on a machine so busy that every clock is late, what runs is to be stopped all the same.
        if timeout is not None and second_chance and was_paused(due_of(attempt.deadline), self._loop.time()):
            attempt.deadline = self._loop.call_later(timeout, self._time_out, entry, attempt, False)
        else:
            self._signal(entry, attempt, "timeout")

    def _signal(self, entry: LiveTask, attempt: Attempt, reason: str) -> None:
        """Ask the task to stop, and have it killed after its grace. A cancel overrides a timeout, not its clock."""
        attempt.signal = reason
        channel = attempt.seat.channel
        channel.signal(entry.id, reason)
        channel.flush()
        if attempt.kill is None:
            attempt.kill = self._loop.call_later(entry.options.grace, self._condemn, entry, attempt)

    def _condemn(self, entry: LiveTask, attempt: Attempt, second_chance: bool = True) -> None:
        if second_chance and was_paused(due_of(attempt.kill), self._loop.time()):
            attempt.kill = self._loop.call_later(entry.options.grace, self._condemn, entry, attempt, False)
            return
        seat, reason = _seat_of(attempt), attempt.signal
        assert reason is not None
        log.warning(
            "task %s (%s) did not stop within its grace of %g s after its %s: killing worker %d",
            entry.record.name, id_text(entry.id), entry.options.grace, reason, seat.pid,
        )  # fmt: skip
        self.kill(seat, entry, reason)

    def kill(self, link: WorkerSeat, entry: LiveTask, reason: str) -> None:
        """Kill a worker for the sake of one task; the others on it are interrupted."""
        link.condemned[entry.id] = reason
        link.retiring = True
        link.channel.kill()

    # --- reports ---

    def reported(self, seat: WorkerSeat, frame: Frame) -> None:
        """See `WorkerEvents`."""
        self._on[frame[0]](seat, frame)
        self._turn()

    def ready(self, seat: WorkerSeat) -> None:
        """See `WorkerEvents`."""
        self._turn()

    def _done(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        tasks, paces = link.tasks, self.pace
        # Before anything is changed: a row that cannot be costs the worker, and must not cost the task.
        check_done(frame[1])
        for id, ending, value, error, delay, acked, started, ended in frame[1]:
            entry = tasks.get(id)
            if entry is None:
                continue
            attempt = entry.attempt
            assert attempt is not None
            # The worker's clock may have been set back meanwhile.
            seconds = ended - started if ended > started else 0.0
            link.drop(entry)
            link.done += 1
            record = entry.record
            pace = paces.get(record.name, PACE_UNKNOWN)
            paces[record.name] = pace + (seconds - pace) * PACE_WEIGHT
            record.started = started
            if entry.mail is not None:
                self._mailroom.acknowledge(entry, acked)
            verdict = judge(
                Outcome(_ENDINGS[ending], value, error, delay),
                entry.options,
                record.attempt,
                cancelled=record.cancel,
                timed_out=attempt.signal == "timeout",
            )
            self._carry_out(entry, verdict, value)

    def _carry_out(self, entry: LiveTask, verdict: Verdict, value: bytes | None = None) -> None:
        if verdict.event is Event.RETRY:
            due = time.time() + verdict.delay if verdict.delay else None
            self._book.requeue(entry, Event.RETRY, error=verdict.error, due=due)
        elif verdict.event is Event.INTERRUPT:
            self._book.requeue(entry, Event.INTERRUPT)
        else:
            kept = value if verdict.keep_value else None
            self._book.end(entry, verdict.event, error=verdict.error, value=kept)

    def _parked(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        for ids, parked in ((frame[1], True), (frame[2], False)):
            for id in ids:
                entry = link.tasks.get(id)
                if entry is not None:
                    link.set_parked(entry, parked)

    def _mail(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        for id, taken, acked in frame[1]:
            entry = link.tasks.get(id)
            if entry is not None:
                self._mailroom.progress(entry, taken, acked)

    def _checkpoint(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        _, request, id, value, acked, posted = frame
        check_checkpoint(request, value, acked, posted, self._settings.value_limit)
        entry = link.tasks.get(id)
        if entry is None:
            # A thread that the task has left behind; it must not wait for ever.
            link.channel.refuse(
                request, TaskNotFound(f"this attempt at task {id_text(id)} is over", id_text(id))
            )
            return
        try:
            self._mailroom.send([letter for letters in posted for letter in letters])
        except UnderstudyError as error:
            link.channel.refuse(request, error)
            return
        if entry.attempt is not None:
            entry.attempt.seen = True
        self._journal.put(Table.CHECKPOINTS, id, value)
        entry.record.checkpoint = (time.time(), len(value))
        self._mailroom.progress(entry, acked, acked)
        self._book.touch(entry)
        self._journal.after_commit(lambda: self._answer(link, request))

    def _answer(self, link: WorkerSeat, request: int) -> None:
        link.channel.answer(request, None)
        link.channel.flush()

    def _restore(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        _, request, id = frame
        if type(request) is not int:
            raise ProtocolError(f"a request's number must be an int: {request!r:.100}")
        link.channel.answer(request, self._journal.get(Table.CHECKPOINTS, checked_id(id)))

    def _progress(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        for id, done, total, note in frame[1]:
            check_progress(done, total, note)
            entry = link.tasks.get(id)
            if entry is not None:
                if entry.attempt is not None:
                    entry.attempt.seen = True
                entry.record.progress = (done, total, note)
                self._book.touch(entry)

    def _log(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        _, id, lines = frame
        check_lines(lines)
        entry = link.tasks.get(id)
        if entry is not None:
            if entry.log is None:
                entry.log = TaskLog(self._journal, id, self._settings.log_limit, stored=entry.stored)
            entry.log.append(lines)

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

    def died(self, link: WorkerSeat, status: ExitStatus) -> bool:
        """See `WorkerEvents`. Settles every task that the worker had."""
        for lane in link.handed:
            self.take_back(link, lane)
        lost = list(link.tasks.values())
        condemned = [(entry, link.condemned[entry.id]) for entry in lost if entry.id in link.condemned]
        others = [entry for entry in lost if entry.id not in link.condemned]
        for entry in lost:
            link.drop(entry)
            self._leave_behind(entry)
        for entry, reason in condemned:
            self._killed(entry, reason, link)
        if condemned or link.condemned or link.retiring:
            for entry in others:
                self._interrupt(entry)
            return True
        waits = link.channel.waiting_at_death()
        # A task that only waits goes on where it was, however often its worker dies.
        innocent = {task.id for task in others if task.kind.only_waits}
        parked = innocent | {task.id for task in others if waits.get(task.id, task.parked)}
        shares = blame(
            [task for task in others if task.id not in parked], [task for task in others if task.id in parked]
        ).shares
        for task, share in shares:
            if task.id in innocent:
                self._interrupt(task)
            else:
                self._share(task, share, link, status)
        return len(shares) > len(innocent)

    def _leave_behind(self, task: LiveTask) -> None:
        if task.kind.leaves_behind:
            self.on_left_behind()

    def _killed(self, entry: LiveTask, reason: str, link: WorkerSeat) -> None:
        if reason.startswith("memory"):
            limit = entry.options.memory_limit
            message = (
                f"its worker (pid {link.pid}) took more than memory_limit={limit:,} bytes and was killed"
            )
            error: ErrorRow = (
                "MemoryLimit",
                message,
                "",
                {"pid": link.pid, "limit": limit, "signal": "SIGKILL"},
            )
            verdict = judge_crash(error, entry.options, entry.record.attempt, crashes=0, max_crashes=1)
            self._carry_out(entry, Verdict(Event.CANCEL) if entry.record.cancel else verdict)
            return
        self._carry_out(
            entry,
            judge(
                Outcome(Ending.INTERRUPTED),
                entry.options,
                entry.record.attempt,
                cancelled=entry.record.cancel,
                timed_out=reason == "timeout",
            ),
        )

    def _share(self, entry: LiveTask, share: Share, link: WorkerSeat, status: ExitStatus) -> None:
        record = entry.record
        if share is not Share.BYSTANDER:
            record.crashes += 1
        if share is Share.SUSPECT or (
            share is Share.WITNESS and record.crashes >= self._settings.max_crashes
        ):
            record.alone = True
        if share is not Share.CULPRIT or record.cancel:
            self._interrupt(entry)
            return
        details: dict[str, Any] = {"pid": link.pid}
        if status.signal is not None:
            details["signal"] = str(status)
        else:
            details["exit_code"] = status.code
        error: ErrorRow = ("WorkerDied", f"its worker (pid {link.pid}) died: {status}", "", details)
        self._carry_out(
            entry,
            judge_crash(
                error,
                entry.options,
                record.attempt,
                crashes=record.crashes,
                max_crashes=self._settings.max_crashes,
            ),
        )

    def _interrupt(self, entry: LiveTask) -> None:
        """Off its worker through no fault of its own; unless its cancel or timeout was under way, which stands."""
        verdict = judge(
            Outcome(Ending.INTERRUPTED),
            entry.options,
            entry.record.attempt,
            cancelled=entry.record.cancel,
            timed_out=entry.attempt is not None and entry.attempt.signal == "timeout",
        )
        self._carry_out(entry, verdict)

    def recover(self) -> int:
        """At boot: what was running under the last supervisor is interrupted; how many."""
        entries = self._book.running_at_boot()
        for entry in entries:
            self._interrupt(entry)
        return len(entries)


def _seat_of(attempt: Attempt) -> WorkerSeat:
    seat = attempt.seat
    assert isinstance(seat, WorkerSeat)
    return seat

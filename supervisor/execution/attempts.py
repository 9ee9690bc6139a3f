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
from ..linux.processes import ExitStatus
from ..rules.blame import Share, blame
from ..rules.pauses import was_paused
from ..rules.report_checks import check_checkpoint, check_done, check_lines, check_progress
from ..rules.verdict import ErrorRow, Verdict, judge, judge_crash
from ..service.admission import checked_id
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_task import LiveTask
from ..tasks.mailboxes import Mailboxes
from ..tasks.task_log import TaskLog
from ..tasks.task_table import TaskTable
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
        kill_worker: Callable[[WorkerSeat], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._journal = journal
        self._book = book
        self._mailroom = mailroom
        self._settings = settings
        self._kill_worker = kill_worker
        #: Called when a container may have been left with nobody to care for it.
        self.on_box_left: Callable[[], None] = lambda: None
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
            Report.DROPPED: self._dropped,
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
        """Put every task of the lane that the worker has not begun back into line."""
        back = link.take_back(lane)
        for entry in back:
            link.drop(entry)
            self._book.take_back(entry)
        for entry in list(link.handed[lane].values()):
            self.begun(link, lane, entry)
        return back

    def begun(self, link: WorkerSeat, lane: Lane, entry: LiveTask) -> None:
        """A task handed out has begun: its time runs."""
        del link.handed[lane][entry.id]
        entry.begun = True
        self._book.touch(entry)
        timeout = entry.options.timeout
        if timeout is not None and entry.signal is None:
            # It may have waited on the worker, but was seen to have begun at the last look.
            begun_at = max(entry.handed_at, self._loop.time() - 2 * LOOK_AFTER)
            entry.deadline = self._loop.call_at(begun_at + timeout, self._time_out, entry)

    # --- stopping ---

    def cancel(self, id: bytes) -> bool:
        """Cancel a task; whether it had not ended. TaskNotFound."""
        entry = self._book.find(id)
        if entry is None:
            if self._book.record(id) is None:
                raise TaskNotFound(f"no task has the id {id_text(id)}", id_text(id))
            return False
        if entry.link is not None and not entry.begun:
            lane = Lane.ASYNC if id in entry.link.handed[Lane.ASYNC] else Lane.SYNC
            self.take_back(entry.link, lane)
        if entry.link is None:
            self._book.end(entry, Event.CANCEL)
            self._box_left(entry)
            return True
        if not entry.record.cancel:
            entry.record.cancel = True
            self._book.touch(entry)
            self._signal(entry, "cancel")
        return True

    def _time_out(self, entry: LiveTask, anew: bool = False) -> None:
        if entry.link is None or entry.signal is not None:
            return
        timeout = entry.options.timeout
        # Once only: on a machine so busy that every clock is late, what runs is to be stopped all the same.
        if timeout is not None and not anew and was_paused(entry.deadline, self._loop.time()):
            entry.deadline = self._loop.call_later(timeout, self._time_out, entry, True)
        else:
            self._signal(entry, "timeout")

    def _signal(self, entry: LiveTask, reason: str) -> None:
        """Ask the task to stop, and have it killed after its grace. A cancel overrides a timeout, not its clock."""
        assert entry.link is not None
        entry.signal = reason
        entry.link.signal(entry.id, reason)
        entry.link.flush()
        if entry.kill is None:
            entry.kill = self._loop.call_later(entry.options.grace, self._condemn, entry, reason)

    def _condemn(self, entry: LiveTask, reason: str, anew: bool = False) -> None:
        link = entry.link
        if link is not None and not anew and was_paused(entry.kill, self._loop.time()):
            entry.kill = self._loop.call_later(entry.options.grace, self._condemn, entry, reason, True)
        elif link is not None:
            log.warning(
                "task %s (%s) did not stop within its grace of %g s after its %s: killing worker %d",
                entry.record.name, id_text(entry.id), entry.options.grace, entry.signal or reason, link.pid,
            )  # fmt: skip
            self.kill(link, entry, entry.signal or reason)

    def kill(self, link: WorkerSeat, entry: LiveTask, reason: str) -> None:
        """Kill a worker for the sake of one task; the others on it are interrupted."""
        link.condemned[entry.id] = reason
        link.retiring = True
        self._kill_worker(link)

    # --- reports ---

    def report(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        """A frame from a worker."""
        self._on[frame[0]](link, frame)

    def _done(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        tasks, paces = link.tasks, self.pace
        # Before anything is changed: a row that cannot be costs the worker, and must not cost the task.
        check_done(frame[1])
        for id, ending, value, error, delay, acked, started, ended in frame[1]:
            entry = tasks.get(id)
            if entry is None:
                continue
            how = _ENDINGS[ending]
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
            if how is Ending.VALUE and entry.signal is None and not record.cancel:
                # What `judge` would say: nearly all of them.
                self._book.end(entry, Event.COMPLETE, value=value)
                continue
            verdict = judge(
                Outcome(how, value, error, delay),
                entry.options,
                record.attempt,
                cancelled=record.cancel,
                timed_out=entry.signal == "timeout",
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
            link.refuse(request, TaskNotFound(f"this attempt at task {id_text(id)} is over", id_text(id)))
            return
        try:
            self._mailroom.send([letter for letters in posted for letter in letters])
        except UnderstudyError as error:
            link.refuse(request, error)
            return
        entry.seen = True
        self._journal.put(Table.CHECKPOINTS, id, value)
        entry.record.checkpoint = (time.time(), len(value))
        self._mailroom.progress(entry, acked, acked)
        self._book.touch(entry)
        self._journal.after_commit(lambda: self._answer(link, request))

    def _answer(self, link: WorkerSeat, request: int) -> None:
        link.answer(request, None)
        link.flush()

    def _restore(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        _, request, id = frame
        if type(request) is not int:
            raise ProtocolError(f"a request's number must be an int: {request!r:.100}")
        link.answer(request, self._journal.get(Table.CHECKPOINTS, checked_id(id)))

    def _progress(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        for id, done, total, note in frame[1]:
            check_progress(done, total, note)
            entry = link.tasks.get(id)
            if entry is not None:
                entry.seen = True
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

    def _dropped(self, link: WorkerSeat, frame: tuple[Any, ...]) -> None:
        lane = Lane(frame[1])
        if link.dropping[lane] <= 0:
            raise ProtocolError("it confirms what it was not told")
        link.dropping[lane] -= 1

    # --- the death of a worker ---

    def worker_died(self, link: WorkerSeat, status: ExitStatus) -> bool:
        """Settle what a dead worker had; whether a task explains the death."""
        for lane in link.handed:
            self.take_back(link, lane)
        lost = list(link.tasks.values())
        condemned = [(entry, link.condemned[entry.id]) for entry in lost if entry.id in link.condemned]
        others = [entry for entry in lost if entry.id not in link.condemned]
        for entry in lost:
            link.drop(entry)
            self._box_left(entry)
        for entry, reason in condemned:
            self._killed(entry, reason, link)
        if condemned or link.condemned or link.retiring:
            for entry in others:
                self._interrupt(entry)
            return True
        waits = link.marks.read()
        # A container task only waits, whatever its marks say of the moment: its container is somebody else's process.
        boxes = {entry.id for entry in others if entry.lane is Lane.BOX}
        parked = boxes | {entry.id for entry in others if waits.get(entry.id, entry.parked)}
        shares = blame(
            [e for e in others if e.id not in parked], [e for e in others if e.id in parked]
        ).shares
        for entry, share in shares:
            if entry.id in boxes:
                # It goes on where it was, however often: the container has not noticed.
                self._interrupt(entry)
            else:
                self._share(entry, share, link, status)
        return len(shares) > len(boxes)

    def _box_left(self, entry: LiveTask) -> None:
        if entry.lane is Lane.BOX:
            self.on_box_left()

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
            timed_out=entry.signal == "timeout",
        )
        self._carry_out(entry, verdict)

    def recover(self) -> int:
        """At boot: what was running under the last supervisor is interrupted; how many."""
        entries = self._book.running_at_boot()
        for entry in entries:
            self._interrupt(entry)
        return len(entries)

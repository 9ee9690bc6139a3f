"""Deaths: what becomes of the tasks of a worker that has died, and who is blamed for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..linux.processes import ExitStatus
from ..rules.blame import Share, blame
from ..rules.crashes import recent
from ..rules.verdict import ErrorRow, judge_crash
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from .turns import Turns
from .verdicts import Verdicts
from .worker_seat import WorkerSeat


class Deaths:
    """Settles every task that a dead worker had."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        turns: Turns,
        verdicts: Verdicts,
        settings: Settings,
        leave_behind: Callable[[LiveTask], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._commits = commits
        self._table = table
        self._turns = turns
        self._verdicts = verdicts
        self._settings = settings
        #: Called with each task whose attempt may have left something outside of its worker.
        self._leave_behind = leave_behind

    def settle(self, seat: WorkerSeat, status: ExitStatus) -> bool:
        """Interrupt or blame the tasks of a worker that gave all others back; whether this explains the death."""
        lost = list(seat.tasks.values())
        building = seat.channel.building_at_death() if any(task.rests for task in lost) else ()
        for task in lost:
            if task.id in building and task.attempt is not None:
                task.attempt.building = True
        others = [task for task in lost if task.id not in seat.condemned]
        for task in lost:
            seat.drop(task)
            self._leave_behind(task)
            with self._table.one(task):
                if seat.condemned.get(task.id) == "memory":
                    self._over_limit(task, seat)
                elif task.id in seat.condemned:
                    self._verdicts.interrupt(task)
        if seat.condemned or seat.blameless:
            for task in others:
                with self._table.one(task):
                    self._verdicts.interrupt(task)
            return True
        waits = seat.channel.waiting_at_death()
        # A task that only waits goes on where it was, however often its worker dies.
        innocent = {task.id for task in others if task.kind.only_waits}
        parked = innocent | {task.id for task in others if waits.get(task.id, task.parked)}
        shares = blame(
            [task for task in others if task.id not in parked], [task for task in others if task.id in parked]
        ).shares
        for task, share in shares:
            with self._table.one(task):
                if task.id in innocent:
                    self._verdicts.interrupt(task)
                else:
                    self._share(task, share, seat, status)
        return len(shares) > len(innocent)

    def _over_limit(self, task: LiveTask, seat: WorkerSeat) -> None:
        limit = task.options.memory_limit
        what = f"its worker (pid {seat.pid}) took more than memory_limit={limit:,} bytes and was killed"
        details = {"pid": seat.pid, "limit": limit, "signal": "SIGKILL"}
        self._blamed(task, ("MemoryLimit", what, "", details), 0)

    def _share(self, task: LiveTask, share: Share, seat: WorkerSeat, status: ExitStatus) -> None:
        record = task.record
        if share is not Share.BYSTANDER:
            self._count_death(task)
        if share is Share.SUSPECT or (
            share is Share.WITNESS and record.crashes >= self._settings.max_crashes
        ):
            record.alone = True
        if share is not Share.CULPRIT:
            self._verdicts.interrupt(task)
            return
        ended = {"exit_code": status.code} if status.signal is None else {"signal": str(status)}
        message = f"its worker (pid {seat.pid}) died: {status}"
        self._blamed(task, ("WorkerDied", message, "", {"pid": seat.pid, **ended}), record.crashes)

    def _count_death(self, task: LiveTask) -> None:
        """Note the death of the task's worker, and forget those that count no more."""
        if isinstance(task, LiveActor) and not self._turns.suspects(task):
            return
        record, now = task.record, self._commits.clock.time()
        before = record.deaths
        if before is None:
            # An earlier release kept the number only.
            before = (record.started or now,) * record.crashes
        record.deaths = recent((*before, now), now, self._settings.crash_window)
        record.crashes = len(record.deaths)

    def _blamed(self, task: LiveTask, error: ErrorRow, crashes: int) -> None:
        if isinstance(task, LiveActor):
            self._turns.crashed(task, error, crashes)
            return
        record = task.record
        seconds = 0.0 if task.attempt is None else self._loop.time() - task.attempt.handed_at
        most = self._settings.max_crashes
        self._verdicts.carry_out(
            task,
            judge_crash(
                error,
                task.options,
                record.attempt,
                cancelled=record.cancel,
                crashes=crashes,
                max_crashes=most,
                delays_from=self._verdicts.delays_from(task, seconds),
                tries_from=record.tries_from,
            ),
        )

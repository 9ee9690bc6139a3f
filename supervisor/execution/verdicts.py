"""Verdicts: what a task's attempt led to is carried out, and what follows when it had no fault in that."""

from __future__ import annotations

from ...actors.attempt.host import Ending, Outcome
from ...actors.state import Event, State
from ..rules.crashes import delays_from
from ..rules.verdict import Verdict, judge
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from .turns import Turns


class Verdicts:
    """Changes the table as attempts end."""

    def __init__(self, commits: CommitLoop, table: TaskTable, turns: Turns, settings: Settings) -> None:
        self._commits = commits
        self._table = table
        self._turns = turns
        self._settings = settings

    def carry_out(self, task: LiveTask, verdict: Verdict, value: bytes | None = None) -> None:
        if verdict.event is Event.RETRY:
            due = self._commits.clock.time() + verdict.delay if verdict.delay else None
            ended_as = State.TIMED_OUT if verdict.timed_out else State.FAILED
            self._table.requeue(task, Event.RETRY, error=verdict.error, due=due, ended_as=ended_as)
        elif verdict.event is Event.INTERRUPT:
            self._table.requeue(task, Event.INTERRUPT, error=verdict.error)
        else:
            kept = value if verdict.keep_value else None
            self._table.end(task, verdict.event, error=verdict.error, value=kept)

    def interrupt(self, task: LiveTask) -> None:
        """Queue a task again that lost its worker for an unrelated reason. A cancel or timeout under way stands."""
        if isinstance(task, LiveActor):
            timed_out = task.attempt is not None and task.attempt.signal == "timeout"
            self._turns.interrupted(task, timed_out=timed_out)
            return
        verdict = judge(
            Outcome(Ending.INTERRUPTED),
            task.options,
            task.record.attempt,
            cancelled=task.record.cancel,
            timed_out=task.attempt is not None and task.attempt.signal == "timeout",
        )
        self.carry_out(task, verdict)

    def delays_from(self, task: LiveTask, seconds: float) -> int:
        """The attempt from which on retry delays count, after one that ran for so many seconds."""
        record = task.record
        first = delays_from(record.delays_from, record.attempt, seconds, self._settings.crash_window)
        if first != record.delays_from:
            record.delays_from = first
        return first

"""StepKeeper: it keeps the steps that tasks and actors' methods have done, and gives them to later attempts."""

from __future__ import annotations

from typing import Any

from ...actors.errors import NotInTask, StepsFull, TaskNotFound, UnderstudyError
from ...actors.ids import id_text
from ...actors.refs.letter import id_of_letter
from ...actors.step_label import STEPS_BYTES, STEPS_LIMIT
from ..rules.report_checks import check_step, check_steps
from ..settings import Settings
from ..tasks.commit_loop import CommitLoop
from ..tasks.kept_steps import KeptSteps
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id
from .worker_seat import WorkerSeat


class StepKeeper:
    """Takes the reports of workers about steps."""

    def __init__(self, commits: CommitLoop, table: TaskTable, settings: Settings) -> None:
        self._commits = commits
        self._table = table
        self._settings = settings

    def keep(
        self, seat: WorkerSeat, request: Any, id: Any, letter: Any, label: Any, name: Any, value: Any
    ) -> None:
        """A step is done: answered once that is on disk."""
        check_step(request, letter, label, name, value, self._settings.value_limit)
        task = seat.tasks.get(id)
        refused = self._refusal(task, id, letter, len(value))
        if refused is not None or task is None:
            seat.channel.refuse(request, refused or _over(id))
            return
        if isinstance(task, LiveActor):
            # The message comes again after a crash, and finds its steps; else they would be nobody's.
            task.box.store_all()
            task.last_batch = self._commits.store.batch.number
        if task.steps is None:
            task.steps = KeptSteps(self._commits.store, task.id)
        if task.attempt is not None:
            task.attempt.seen = True
        task.steps.keep(task.record, letter, label, self._commits.clock.time(), name, value)
        self._table.touch(task)
        self._commits.after_commit(lambda: self._answer(seat, request))

    def _refusal(self, task: LiveTask | None, id: Any, letter: bytes, size: int) -> UnderstudyError | None:
        if task is None:
            return _over(id)
        if isinstance(task, LiveActor) != bool(letter):
            return NotInTask("a step of an actor belongs to a message, and that of a task to none")
        if isinstance(task, LiveActor) and not _handles(task, letter):
            return NotInTask("a step works only in the method that handles a message, until it returns")
        count, kept = task.record.steps or (0, 0)
        if count >= STEPS_LIMIT or kept + size > STEPS_BYTES:
            return StepsFull(
                f"task {id_text(task.id)} keeps {count:,} steps of {kept:,} bytes, and this one takes {size:,}; the "
                f"limits are {STEPS_LIMIT:,} and {STEPS_BYTES:,}. Store data in files and give their paths, or do the "
                "work in several tasks",
                id_text(task.id),
                count,
                kept,
            )
        return None

    def _answer(self, seat: WorkerSeat, request: int) -> None:
        seat.channel.answer(request, None)
        seat.channel.flush()

    def read(self, seat: WorkerSeat, request: Any, id: Any, label: Any) -> None:
        """Steps that an attempt was not given with its assignment."""
        check_steps(request, label)
        task = seat.tasks.get(checked_id(id))
        if task is None:
            seat.channel.refuse(request, _over(id))
            return
        seat.channel.answer(request, ([], True) if task.steps is None else task.steps.page(label))


def _handles(actor: LiveActor, letter: bytes) -> bool:
    """Whether this letter was given to the turn under way, and is still in the mailbox."""
    if actor.turn is None:
        return False
    letters, first = actor.turn[3], actor.turn[6]
    return any(
        first + place >= actor.box.first and bool(data) and id_of_letter(data) == letter
        for place, data in enumerate(letters)
    )


def _over(id: Any) -> TaskNotFound:
    text = id_text(checked_id(id))
    return TaskNotFound(f"this attempt at task {text} is over", text)

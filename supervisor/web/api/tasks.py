"""Tasks: what became of them, read from the store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.state import State
from ....actors.task.handles import TaskRecord
from ....actors.task.outcomes import TaskAttempt
from ....actors.task.stack import TaskStack
from ....actors.task.step_info import StepInfo
from ....actors.task.trigger import Trigger
from ...client.pages import SearchPage
from ...client.views import ended_error
from ...text import documents, units
from .call import MOST_LISTED, PATIENCE, After, Call, Id, Limit, Read, json_answer, router_of
from .models import TIME, answer, answer_of, many

MOST_WAIT: Final = 60.0
"""Seconds that a request for a result may wait."""

TRIGGER: Final[Any] = answer_of("Trigger", Trigger, times=documents.TRIGGER_TIMES)
TASK: Final = answer_of(
    "Task", TaskRecord, times=documents.TASK_TIMES, without=("arguments",), trigger=TRIGGER | None
)
ATTEMPT: Final = answer_of("Attempt", TaskAttempt, times=("started", "ended"))
STEP: Final = answer_of("Step", StepInfo, times=("time",), without=("value",))
PAGE: Final = answer(
    "TaskPage",
    "Tasks, newest first.",
    tasks=many(TASK),
    next=str | None,
    stopped=bool,
    looked_back_to=TIME | None,
)
ATTEMPTS: Final = answer("Attempts", "The runs of a task, oldest first.", attempts=many(ATTEMPT), dropped=int)
SHOWN: Final = answer_of(
    "ShownTask",
    TaskRecord,
    times=documents.TASK_TIMES,
    without=("arguments",),
    trigger=TRIGGER | None,
    attempts=many(ATTEMPT),
    attempts_dropped=int,
    linked_to=str | None,
    linked=list[str],
    monitors=list[str],
    monitored_by=list[str],
    known_steps=many(STEP),
    args=list[Any],
    kwargs=dict[str, Any],
    result=(Any, None),
)
RESULT: Final = answer("Result", "The value of a task.", id=str, state=State, value=Any)
NOT_ENDED: Final = answer("NotEnded", "The task has not ended yet.", id=str, state=State)
CHECKPOINT: Final = answer(
    "Checkpoint", "The last checkpoint of a task.", id=str, time=TIME | None, size=int | None, value=Any
)
LINE: Final = answer("Line", "A line of a log.", time=TIME, level=str, text=str)
LOG: Final = answer(
    "Log", "Lines of a log; pass `after` for those behind them.", lines=many(LINE), after=int, more=bool
)
STACK: Final = answer_of("Stack", TaskStack, times=("time",))
MESSAGES: Final = answer(
    "Messages", "Messages that the task has not acknowledged, oldest first.", messages=list[Any], depth=int
)

router = router_of("tasks")


@router.get("/tasks", response_model=PAGE)
def search(
    call: Read,
    q: Annotated[str, Query(max_length=4_000, description="A query, as of `understudy ps`.")] = "",
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """Search tasks.

    A page takes at most about 50 ms: it may have fewer tasks than `limit`, and `next` nevertheless.
    """
    return json_answer(page_of(call.look.search(q, limit=limit, after=after, sees=call.sees)))


def page_of(page: SearchPage) -> dict[str, Any]:
    """A page of a search."""
    return {
        "tasks": [documents.task(record) for record in page],
        "next": page.cursor,
        "stopped": page.stopped,
        "looked_back_to": units.iso(page.looked_back_to),
    }


@router.get("/tasks/{id}", response_model=SHOWN)
def show(call: Read, id: Id) -> Response:
    """Show a task with its attempts, its steps, its arguments and its result."""
    record = call.read_task(id)
    runs = call.runtime.sync.attempts(id)
    args, kwargs = record.arguments.value()
    shown = {
        **documents.task(record),
        "attempts": [documents.attempt(run) for run in runs],
        "attempts_dropped": runs.dropped,
        **_ties(call, record),
        "known_steps": [documents.step(step) for step in call.runtime.sync.steps(id)] if record.steps else [],
        "args": args,
        "kwargs": kwargs,
    }
    if record.state in (State.COMPLETED, State.CANCELLED):
        shown["result"] = call.look.result(id)
    return json_answer(shown)


def _ties(call: Call, record: TaskRecord) -> dict[str, Any]:
    linked_to, found = call.look.ties(record)
    return documents.ties(linked_to, found.children, found.monitors, found.watchers)


@router.get("/tasks/{id}/result", response_model=RESULT, responses={202: {"model": NOT_ENDED}})
async def result(
    call: Read,
    id: Id,
    wait: Annotated[float, Query(ge=0, le=MOST_WAIT, description="Seconds to wait for the end.")] = 0.0,
) -> Response:
    """Get the value of a task.

    202 if it has not ended. 409 if it ended in another way: the problem's `error` is TaskFailed, TaskTimedOut,
    TaskCancelled or Poisoned, and its `data` say why.
    """
    record = await call.task(id)
    if wait and not record.ended_already:
        with suppress(TimeoutError):
            await call.runtime.wait(id, wait)
    return await run_in_threadpool(_result, call, id)


def _result(call: Call, id: str) -> Response:
    record = call.read_task(id)
    if not record.ended_already:
        return json_answer({"id": record.id, "state": record.state}, 202)
    value = call.look.result(id)
    if record.state is State.COMPLETED:
        return json_answer({"id": record.id, "state": record.state, "value": value})
    error = ended_error(record.id, str(record.state), record.error)
    if record.state is State.CANCELLED:
        error.value = value  # type: ignore[attr-defined]
    raise error


@router.get("/tasks/{id}/checkpoint", response_model=CHECKPOINT)
def checkpoint(call: Read, id: Id) -> Response:
    """Get the last checkpoint of a task: null if there is none."""
    record = call.read_task(id)
    return json_answer(
        {
            "id": record.id,
            "time": units.iso(record.checkpoint_time),
            "size": record.checkpoint_size,
            "value": call.look.checkpoint(id),
        }
    )


@router.get("/tasks/{id}/attempts", response_model=ATTEMPTS)
def attempts(call: Read, id: Id) -> Response:
    """List the attempts of a task. The last 100 are kept."""
    call.read_task(id)
    runs = call.runtime.sync.attempts(id)
    return json_answer({"attempts": [documents.attempt(run) for run in runs], "dropped": runs.dropped})


@router.get("/tasks/{id}/logs", response_model=LOG)
def logs(
    call: Read,
    id: Id,
    limit: Limit = MOST_LISTED,
    after: Annotated[int, Query(ge=0, le=2**53, description="`after` of the answer before.")] = 0,
) -> Response:
    """Read the log of a task. Lines come in whole chunks, so there may be more than `limit`.

    The same call with the `after` of the answer goes on, also when more has been printed.
    """
    call.read_task(id)
    lines, last, more = call.look.log(id, after=after, limit=limit)
    return json_answer(
        {
            "lines": [documents.line(line.time, line.level, line.text) for line in lines],
            "after": last,
            "more": more,
        }
    )


@router.get("/tasks/{id}/stack", response_model=STACK)
async def stack(call: Read, id: Id) -> Response:
    """Look where the code of a running task is, also while it is held up in C. 409 if it does not run."""
    await call.task(id)
    found = await call.runtime.stack(id, timeout=PATIENCE)
    if not call.identity.sees_all:
        # The other threads run tasks of other names.
        found = replace(found, threads=tuple(each for each in found.threads if each.role != "other"))
    return json_answer(documents.with_times(found.as_dict(), ("time",)))


@router.get("/tasks/{id}/messages", response_model=MESSAGES)
def messages(call: Read, id: Id, limit: Limit = 50) -> Response:
    """Look into the mailbox of a task. Those of an actor are counted, not shown."""
    record = call.read_task(id)
    found = [] if record.actor is not None else call.look.messages(id, limit)
    return json_answer({"messages": found, "depth": record.mailbox_depth})

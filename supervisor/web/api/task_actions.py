"""Task actions: starts, messages, cancels and retries. Each is on disk before its answer."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from pydantic import Field, JsonValue
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.state import State
from ....actors.task.declaration import Task
from ....actors.task.handles import TaskInfo, TaskRecord
from ....actors.task.options import OnConflict, Options
from ...client.retrying import retry_once, send_once
from ...text import documents
from ..problems import Refused
from .call import PATIENCE, Call, Id, Key, Run, json_answer, moment, router_of
from .models import Body, answer

MOST_MESSAGES: Final = 1_000
"""Messages of one request."""

#: The options of a task that a start may change. For those of the second row null means something.
_CHANGES: Final = ("retry", "priority", "grace", "isolate", "capture_output", "unique", "on_conflict")
_CHANGES_OR_NULL: Final = ("timeout", "keep", "memory_limit", "pool", "unique_by")
#: What else a start may say.
_LAUNCHES: Final = ("delay", "stream_id", "metadata", "limit_key", "unique_key")

STARTED: Final = answer(
    "Started",
    "A task that is on disk. `existing`: it was there, with this key or as the unique one.",
    id=str,
    stream_id=str,
    task=str,
    origin_run=str | None,
    existing=bool,
)
RETRIED: Final = answer(
    "Retried", "The task that retries another one.", id=str, stream_id=str, task=str, retry_of=str
)
CANCELLED: Final = answer(
    "Cancelled", "Whether the task had not ended, and its state now.", id=str, cancelled=bool, state=State
)


class Start(Body):
    """A task to start."""

    task: str = Field(min_length=1, max_length=255, description="Its name, as module:function.")
    args: list[JsonValue] = Field(default_factory=list)
    kwargs: dict[str, JsonValue] = Field(default_factory=dict)
    delay: float | None = Field(default=None, description="Seconds until it may begin.")
    at: str | None = Field(
        default=None, max_length=40, description="The time at which it may begin: ISO 8601."
    )
    timeout: float | None = Field(default=None, description="Seconds of an attempt; null for no limit.")
    retry: int | None = Field(default=None, ge=0, description="How often it is retried, 1 s apart.")
    grace: float | None = Field(default=None, description="Seconds between the signal to stop and the kill.")
    keep: float | None = Field(
        default=None, description="Seconds for which the ended task is kept; null for ever."
    )
    priority: int | None = Field(default=None, ge=-100, le=100)
    isolate: bool | None = Field(default=None, description="Whether it runs in a worker of its own.")
    memory_limit: int | None = Field(
        default=None, description="Bytes of memory that its worker may use; null for any number."
    )
    capture_output: bool | None = Field(default=None, description="Whether all its output goes to its log.")
    pool: str | None = Field(
        default=None, description="The pool whose workers run it; null for those without a pool."
    )
    stream_id: str | None = Field(default=None, max_length=40, description="The stream that it is put into.")
    metadata: dict[str, str] | None = None
    limit_key: str | None = Field(
        default=None, description="The key of its limit, in place of its arguments."
    )
    unique: bool | float | None = Field(
        default=None, description="Whether it is unique while it has not ended, or for so many seconds."
    )
    unique_by: list[str] | None = Field(
        default=None, description="The parameters that make the key of a unique task; null for all of them."
    )
    unique_key: str | None = Field(
        default=None, description="The key of a unique task, in place of its arguments."
    )
    on_conflict: OnConflict | None = Field(
        default=None,
        description="If another task has the key of a unique one: return it, fail, or replace its arguments.",
    )
    on_ended: Literal["return", "start"] = Field(
        default="return",
        description="If the task of the Idempotency-Key has ended: return it, or start anew.",
    )


class Send(Body):
    """Messages for a mailbox, in this order: all or none."""

    messages: list[JsonValue] = Field(min_length=1, max_length=MOST_MESSAGES)


class Retry(Body):
    """How to retry a task. With arguments, a new task is started with these."""

    from_scratch: bool = Field(default=False, description="Without the checkpoint.")
    args: list[JsonValue] | None = None
    kwargs: dict[str, JsonValue] | None = None


router = router_of("tasks")


@router.post("/tasks", status_code=201, response_model=STARTED, responses={200: {"model": STARTED}})
async def start(call: Run, body: Start, key: Key = None) -> Response:
    """Start a task.

    With an Idempotency-Key, the task that has this key is the answer, also days later. 409 if that is a task of another
    name.
    """
    call.check(body.task)
    options: dict[str, Any] = {
        name: getattr(body, name)
        for name in (*_CHANGES, *_CHANGES_OR_NULL)
        if name in body.model_fields_set and (name in _CHANGES_OR_NULL or getattr(body, name) is not None)
    }
    for name in _LAUNCHES:
        if getattr(body, name) is not None:
            options[name] = getattr(body, name)
    if body.at is not None:
        options["at"] = moment("at", body.at)
    if key is not None:
        options |= {"key": key, "on_ended": body.on_ended}
    task = Task.named(body.task)
    info = await _started(call, task.options(**options) if options else task, body.args, body.kwargs)
    status = 200 if info.existing else 201
    return json_answer(documents.started(info), status, Location=_place(call, info.id))


async def _started(
    call: Call, task: Task[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> TaskInfo[Any]:
    try:
        info = await asyncio.wait_for(call.runtime.start(task, *args, **kwargs), PATIENCE)
    except TypeError as error:
        raise Refused(400, f"the arguments do not fit {error}") from error
    if info.task != task.name:
        # A caller who knows a key must not learn of tasks that it may not see.
        raise Refused(409, f"the key {task.launch.key!r} is that of a task with another name")
    return info


@router.post("/tasks/{id}/messages", status_code=204)
async def send(call: Run, id: Id, body: Send, key: Key = None) -> Response:
    """Put messages into the mailbox of a task. 429 if it is full, 409 if it is closed.

    With an Idempotency-Key, a task that was sent messages under this key within a day gets no others.
    """
    await call.task(id)
    if key is None:
        await call.runtime.send_many([(id, message) for message in body.messages], timeout=PATIENCE)
    else:
        await send_once(call.runtime, id, body.messages, key, timeout=PATIENCE)
    return Response(status_code=204)


@router.post("/tasks/{id}/close", status_code=204)
async def close(call: Run, id: Id) -> Response:
    """Close the mailbox of a task: it takes no more messages."""
    await call.task(id)
    await call.runtime.close_mailbox(id, timeout=PATIENCE)
    return Response(status_code=204)


@router.post("/tasks/{id}/cancel", response_model=CANCELLED)
async def cancel(call: Run, id: Id) -> Response:
    """Cancel a task. One that runs is asked to stop, and killed if it has not stopped after its grace."""
    await call.task(id)
    changed = await call.runtime.cancel(id, timeout=PATIENCE)
    record = await call.task(id)
    return json_answer({"id": record.id, "cancelled": changed, "state": record.state})


@router.post("/tasks/{id}/retry", status_code=201, response_model=RETRIED)
async def retry(call: Run, id: Id, body: Retry, key: Key = None) -> Response:
    """Retry an ended task: a new one goes on from its checkpoint.

    With an Idempotency-Key, a task that was retried already is not retried again: the answer is the first retry. With
    `args` or `kwargs`, a new task with these arguments and the same options is started, under the key.
    """
    old = await call.task(id)
    if old.actor is not None or not old.ended_already:
        raise Refused(409, f"task {old.id} is {old.state}: only an ended task can be retried, and no actor")
    if body.args is None and body.kwargs is None:
        if key is None:
            info = await call.runtime.retry(id, from_scratch=body.from_scratch, timeout=PATIENCE)
        else:
            info = await retry_once(call.runtime, id, from_scratch=body.from_scratch, timeout=PATIENCE)
    else:
        task = await run_in_threadpool(_again, old, key)
        info = await _started(call, task, body.args or [], body.kwargs or {})
    made = {"id": info.id, "stream_id": info.stream_id, "task": info.task, "retry_of": old.id}
    return json_answer(made, 201, Location=_place(call, info.id))


def _again(old: TaskRecord, key: str | None) -> Task[..., Any]:
    """The task of this record, with the options that its start had changed."""
    changed = Options.unpack(old.options)
    given: dict[str, Any] = {name: getattr(changed, name) for name in old.options}
    if old.metadata:
        given["metadata"] = old.metadata
    return Task.named(old.task).options(key=key, stream_id=old.stream_id, **given)


def _place(call: Call, id: str) -> str:
    return f"{call.context.settings.base}/api/tasks/{id}"

"""Bulk: cancels and retries of all tasks that fit a query. First a dry run, then exactly what it has found."""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import Path, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.errors import BulkNotFound
from ....actors.task.bulk_info import BulkInfo, BulkOutcome
from ...text import documents
from ..dry_runs import dry_runs
from ..problems import Refused
from .call import PATIENCE, After, Limit, ReadAll, RunAll, json_answer, router_of
from .models import Body, answer, answer_of, many
from .tasks import TASK

LONG: Final = 600.0
"""Seconds that a dry run, and the storing of what it has found, may take."""

MOST_WAITED: Final = 60.0
"""Seconds that a request waits for the end."""

BULK: Final = answer_of("Bulk", BulkInfo, times=documents.BULK_TIMES)
FOUND: Final = answer(
    "Found",
    "A dry run: how many tasks would be touched, and some of them. The action takes this `id` and `found`.",
    id=str,
    found=int,
    sample=many(TASK),
)
PAGE: Final = answer("Bulks", "Bulks, newest first.", bulks=many(BULK), next=str | None)
OUTCOMES: Final = answer(
    "BulkOutcomes",
    "What became of the tasks of a bulk, in their order.",
    outcomes=many(answer_of("BulkOutcome", BulkOutcome)),
    next=str | None,
)
STOPPED: Final = answer("StoppedBulk", "Whether it had not ended before.", id=str, cancelled=bool)

BulkId = Annotated[UUID, Path(description="The id of a bulk.")]


class Wanted(Body):
    """What to do with which tasks."""

    do: Literal["cancel", "retry"]
    query: str = Field(min_length=1, max_length=4_000)


class Confirmed(Body):
    """What a dry run has told."""

    id: str = Field(max_length=40, description="`id` of the dry run.")
    found: int = Field(ge=0, description="`found` of the dry run.")
    from_scratch: bool = Field(default=False, description="Retry without the checkpoints.")


router = router_of("bulk")


@router.post("/bulk/dry-run", response_model=FOUND)
async def dry_run(call: RunAll, body: Wanted) -> Response:
    """Count the tasks that an action would touch. Nothing is changed. It may be applied for 15 minutes."""
    run = dry_runs.keep(await call.runtime.plan_bulk(body.do, body.query, timeout=LONG))
    sample = await run_in_threadpool(run.sample, call.runtime.sync)
    return json_answer(
        {"id": run.name, "found": run.count, "sample": [documents.task(each) for each in sample]}
    )


@router.post("/bulk", status_code=202, response_model=BULK)
async def act(call: RunAll, body: Confirmed) -> Response:
    """Have the tasks cancelled or retried that a dry run has found. It is on disk then, and goes on by itself.

    It may be sent again: that does nothing twice. 404 if the dry run is too old: make another one.
    """
    try:
        run = dry_runs.take(body.id)
    except BulkNotFound as error:
        try:
            return _told(await call.runtime.bulk(body.id), 202)
        except BulkNotFound:
            raise error from None
    if run.count != body.found:
        raise Refused(409, f"the dry run has found {run.count:,} tasks, not {body.found:,}")
    info = await call.runtime.start_plan(
        run.plan, from_scratch=body.from_scratch, by=call.identity.name, timeout=LONG
    )
    dry_runs.drop(run.name)
    return _told(info, 202)


@router.get("/bulk", response_model=PAGE)
def list_bulks(call: ReadAll, limit: Limit = 100, after: After = None) -> Response:
    """List cancels and retries of many tasks, newest first."""
    found = call.runtime.sync.bulks(limit=limit, before=after)
    return json_answer(
        {
            "bulks": [documents.bulk(each) for each in found],
            "next": found[-1].id if len(found) == limit else None,
        }
    )


@router.get("/bulk/{id:uuid}", response_model=BULK)
async def show(
    call: ReadAll,
    id: BulkId,
    wait: Annotated[float, Query(ge=0, le=MOST_WAITED, description="Seconds to wait for its end.")] = 0.0,
) -> Response:
    """Tell how far one is, and what became of its tasks."""
    if wait:
        try:
            return _told(await call.runtime.wait_bulk(str(id), wait))
        except TimeoutError:
            pass  # it goes on
    return _told(await call.runtime.bulk(str(id)))


@router.get("/bulk/{id:uuid}/outcomes", response_model=OUTCOMES)
def outcomes(call: ReadAll, id: BulkId, limit: Limit = 100, after: After = None) -> Response:
    """Tell what became of each task."""
    number = _number(after)
    runtime = call.runtime.sync
    total = runtime.bulk(str(id)).total
    found = runtime.bulk_outcomes(str(id), after=number, limit=limit)
    behind = number + len(found)
    return json_answer(
        {
            "outcomes": [documents.bulk_outcome(each) for each in found],
            "next": str(behind) if found and behind < total else None,
        }
    )


@router.post("/bulk/{id:uuid}/cancel", response_model=STOPPED)
async def cancel(call: RunAll, id: BulkId) -> Response:
    """Let it touch no further task. What it has done stays."""
    return json_answer(
        {"id": str(id), "cancelled": await call.runtime.cancel_bulk(str(id), timeout=PATIENCE)}
    )


def _told(info: BulkInfo, status: int = 200) -> Response:
    return json_answer(documents.bulk(info), status)


def _number(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdecimal() and len(after) < 10):
        raise Refused(400, f"after is `next` of the page before, not {after!r:.80}")
    return int(after)

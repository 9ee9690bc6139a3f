"""Bulk: cancels and retries of all tasks that fit a query. First a dry run, then what it has found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....storage.query import parse_some
from ...text import documents
from ..problems import Refused
from .call import RunAll, json_answer, moment, router_of
from .models import Body, answer, many
from .tasks import TASK

PATIENCE: Final = 600.0
"""Seconds that an action on many tasks may take."""

SAMPLE: Final = 10
"""Tasks that a dry run shows."""

FOUND: Final = answer(
    "Found",
    "A dry run: how many tasks would be touched, and some of them. The action takes this `until` and `found`.",
    found=int,
    until=str,
    sample=many(TASK),
)
DONE: Final = answer("Done", "How many tasks were touched.", done=int)


class Wanted(Body):
    """What to do with which tasks."""

    do: Literal["cancel", "retry"]
    query: str = Field(min_length=1, max_length=4_000)


class Confirmed(Wanted):
    """What to do, as a dry run has told."""

    until: str = Field(max_length=40, description="`until` of the dry run: later tasks are not touched.")
    found: int = Field(ge=0, description="`found` of the dry run.")
    from_scratch: bool = Field(default=False, description="Retry without the checkpoints.")


router = router_of("bulk")


@router.post("/bulk/dry-run", response_model=FOUND)
async def dry_run(call: RunAll, body: Wanted) -> Response:
    """Count the tasks that an action would touch. Nothing is changed."""
    until = datetime.now(UTC).isoformat(timespec="milliseconds")
    query = _bounded(body.query, until)
    count = await _do(call, body.do, query, dry_run=True)
    narrowed = "-state:completed,failed,timed_out,cancelled"
    if body.do == "retry":
        narrowed = "" if "state:" in body.query else "state:failed,timed_out"
    sample = await run_in_threadpool(
        lambda: call.look.search(f"{query} {narrowed}".strip(), limit=SAMPLE, after=None, sees=call.sees)
    )
    return json_answer({"found": count, "until": until, "sample": [documents.task(each) for each in sample]})


@router.post("/bulk", response_model=DONE)
async def act(call: RunAll, body: Confirmed) -> Response:
    """Cancel or retry the tasks that a dry run has found and that still fit.

    409 if more fit than it has found. One that was cut off has touched some of them; sent again, it goes on.
    """
    moment("until", body.until)
    query = _bounded(body.query, body.until)
    now = await _do(call, body.do, query, dry_run=True)
    if now > body.found:
        raise Refused(
            409, f"{now:,} tasks fit now, more than the {body.found:,} of the dry run: make another one"
        )
    done = await _do(call, body.do, query, dry_run=False, from_scratch=body.from_scratch)
    return json_answer({"done": done})


def _bounded(query: str, until: str) -> str:
    """The query for tasks that were there at that time. An empty one is refused, because it may be a mistake."""
    parse_some(query)
    return f"{query} older:'{until}'"


async def _do(call: RunAll, do: str, query: str, *, dry_run: bool, from_scratch: bool = False) -> int:
    if do == "cancel":
        return await call.runtime.cancel_where(query, dry_run=dry_run, timeout=PATIENCE)
    return await call.runtime.retry_where(query, dry_run=dry_run, from_scratch=from_scratch, timeout=PATIENCE)

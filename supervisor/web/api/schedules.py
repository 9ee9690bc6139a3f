"""Schedules: their times and what became of them, and what can be done with them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.errors import ScheduleNotFound
from ....actors.schedules.definition import KEY_LIMIT, Definition
from ....actors.schedules.info import Occurrence, ScheduleInfo, ScheduleState
from ...text import documents, units
from .call import PATIENCE, After, Call, Limit, Read, Run, json_answer, moment, router_of
from .models import TIME, Body, answer, answer_of, many

HISTORY: Final = 100
"""Occurrences that one look shows."""

NEXT: Final = 10
"""Next times that one look shows."""

#: Pages that one list looks through for schedules of the names that may be seen.
_LOOKS: Final = 10

_DEFINITION: Final = answer_of("Definition", Definition, times=documents.DEFINITION_TIMES)
SCHEDULE: Final = answer_of("Schedule", ScheduleInfo, times=documents.SCHEDULE_TIMES, definition=_DEFINITION)
PAGE: Final = answer("SchedulePage", "Schedules, by key.", schedules=many(SCHEDULE), next=str | None)
SHOWN: Final = answer_of(
    "ShownSchedule",
    ScheduleInfo,
    times=documents.SCHEDULE_TIMES,
    definition=_DEFINITION,
    times_next=many(TIME),
    history=many(answer_of("Occurrence", Occurrence, times=documents.OCCURRENCE_TIMES)),
)
RUN: Final = answer("ScheduledRun", "A run that was asked for.", id=str)
RUNS: Final = answer("ScheduledRuns", "Runs that were asked for.", ids=list[str])

ScheduleKey = Annotated[str, Path(description="The key of a schedule.")]


class Backfill(Body):
    """Of which time the occurrences are to be run that have no run."""

    start: str = Field(max_length=40, description="ISO 8601")
    end: str = Field(max_length=40, description="ISO 8601")


router = router_of("schedules")


@router.get("/schedules", response_model=PAGE)
def list_schedules(
    call: Read,
    state: Annotated[ScheduleState | None, Query(description="Only schedules in this state.")] = None,
    limit: Limit = 100,
    after: After = None,
) -> Response:
    """List schedules."""
    found: list[ScheduleInfo] = []
    following = after
    for _ in range(_LOOKS):
        page = call.runtime.sync.schedules(state=state, limit=limit, after=following)
        for each in page:
            following = each.key
            if call.sees(each.task):
                found.append(each)
                if len(found) == limit:
                    break
        if len(page) < limit:
            following = following if len(found) == limit else None
            break
        if len(found) == limit:
            break
    return json_answer({"schedules": [documents.schedule(each) for each in found], "next": following})


def _read(call: Call, key: str) -> ScheduleInfo:
    if len(key.encode()) > KEY_LIMIT:
        raise ScheduleNotFound("no schedule has so long a key", key)
    info = call.runtime.sync.schedule_info(key)
    call.check(info.task)
    return info


async def _told(call: Call, key: str) -> Response:
    return json_answer(documents.schedule(await run_in_threadpool(_read, call, key)))


@router.post("/schedules/{key:path}/pause", response_model=SCHEDULE)
async def pause(call: Run, key: ScheduleKey) -> Response:
    """Pause a schedule: occurrences are skipped until it is resumed."""
    await run_in_threadpool(_read, call, key)
    await call.runtime.pause_schedule(key, timeout=PATIENCE)
    return await _told(call, key)


@router.post("/schedules/{key:path}/resume", response_model=SCHEDULE)
async def resume(call: Run, key: ScheduleKey) -> Response:
    """Resume a paused schedule."""
    await run_in_threadpool(_read, call, key)
    await call.runtime.resume_schedule(key, timeout=PATIENCE)
    return await _told(call, key)


@router.post("/schedules/{key:path}/cancel", response_model=SCHEDULE)
async def cancel(call: Run, key: ScheduleKey) -> Response:
    """End a schedule that a program has made. Its runs go on."""
    await run_in_threadpool(_read, call, key)
    await call.runtime.cancel_schedule(key, timeout=PATIENCE)
    return await _told(call, key)


@router.post("/schedules/{key:path}/run", status_code=201, response_model=RUN)
async def run(call: Run, key: ScheduleKey) -> Response:
    """Start a run of a schedule now."""
    await run_in_threadpool(_read, call, key)
    return json_answer({"id": await call.runtime.run_schedule(key, timeout=PATIENCE)}, 201)


@router.post("/schedules/{key:path}/backfill", status_code=201, response_model=RUNS)
async def backfill(call: Run, key: ScheduleKey, body: Backfill) -> Response:
    """Start a run for each past occurrence that has none. It may be sent again."""
    await run_in_threadpool(_read, call, key)
    start, end = moment("start", body.start), moment("end", body.end)
    return json_answer({"ids": await call.runtime.backfill(key, start, end, timeout=PATIENCE)}, 201)


@router.get("/schedules/{key:path}", response_model=SHOWN)
def show(call: Read, key: ScheduleKey) -> Response:
    """Show a schedule with its next times and its last occurrences."""
    info = _read(call, key)
    runtime = call.runtime.sync
    return json_answer(
        {
            **documents.schedule(info),
            "times_next": [units.iso(each) for each in runtime.next_times(key, NEXT)],
            "history": [documents.occurrence(each) for each in runtime.schedule_history(key, limit=HISTORY)],
        }
    )

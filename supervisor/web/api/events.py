"""Events: those that were emitted, with their runs; new ones, and replays."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import Field, JsonValue
from starlette.responses import Response

from ....actors.ids import id_bytes
from ....actors.state import State
from ...text import documents, units
from .call import PATIENCE, After, Key, Limit, ReadAll, RunAll, json_answer, router_of
from .models import TIME, Body, answer, many

_FIELDS: Final[dict[str, Any]] = {
    "id": str,
    "name": str,
    "time": TIME,
    "stream_id": str,
    "origin_run": str | None,
    "data": Any,
}
_RUN: Final = answer("EventRun", "A run that handles an event.", handler=str, id=str)
_SHOWN_RUN: Final = answer(
    "ShownEventRun",
    "A run that handles an event; state null: it was pruned.",
    handler=str,
    id=str,
    state=State | None,
)
EVENT: Final = answer("Event", "An event, with the runs that handle it.", **_FIELDS, runs=many(_RUN))
SHOWN: Final = answer(
    "ShownEvent", "An event, with the states of its runs.", **_FIELDS, runs=many(_SHOWN_RUN)
)
PAGE: Final = answer(
    "EventPage",
    "Events, newest first.",
    events=many(EVENT),
    next=str | None,
    stopped=bool,
    looked_back_to=TIME | None,
)
EMITTED: Final = answer(
    "Emitted", "An event that is on disk, and its new runs.", id=str, stream_id=str, runs=list[str]
)

EventId = Annotated[str, Path(description="The id of an event.")]


class Emit(Body):
    """An event to emit."""

    name: str = Field(min_length=1, max_length=255)
    data: JsonValue = None
    stream_id: str | None = Field(default=None, max_length=40)


class Replay(Body):
    """Which handlers to run again."""

    handler: str | None = Field(
        default=None, max_length=255, description="The name of one of them; null for all."
    )


router = router_of("events")


@router.get("/events", response_model=PAGE)
def list_events(
    call: ReadAll,
    name: Annotated[
        str | None, Query(max_length=255, description="A name, or a pattern such as order.*")
    ] = None,
    unmatched: Annotated[bool, Query(description="Only those that nothing handled.")] = False,
    limit: Limit = 50,
    after: After = None,
) -> Response:
    """List events."""
    page = call.runtime.sync.events(name=name, unmatched=unmatched, limit=limit, before=after)
    return json_answer(
        {
            "events": [documents.event(each) for each in page],
            "next": page.cursor,
            "stopped": page.stopped,
            "looked_back_to": units.iso(page.looked_back_to),
        }
    )


@router.post("/events", status_code=201, response_model=EMITTED)
async def emit(call: RunAll, body: Emit, key: Key = None) -> Response:
    """Emit an event. It is on disk together with a run of each handler.

    The Idempotency-Key becomes its id: an event with an id that is known is not emitted again.
    """
    made = await call.runtime.emit(body.name, body.data, id=key, stream_id=body.stream_id, timeout=PATIENCE)
    return json_answer(documents.emitted(made), 201)


@router.post("/events/{id:path}/replay", response_model=EMITTED)
async def replay(call: RunAll, id: EventId, body: Replay) -> Response:
    """Run the handlers of an event again. The answer has the new runs."""
    return json_answer(documents.emitted(await call.runtime.replay(id, body.handler, timeout=PATIENCE)))


@router.get("/events/{id:path}", response_model=SHOWN)
def show(call: ReadAll, id: EventId) -> Response:
    """Show an event with its runs."""
    event = call.runtime.sync.event(id)
    records = [call.context.reader.record(id_bytes(run)) for _, run in event.runs]
    runs = [
        {"handler": handler, "id": run, "state": None if record is None else record.state}
        for (handler, run), record in zip(event.runs, records, strict=True)
    ]
    return json_answer({**documents.event(event), "runs": runs})

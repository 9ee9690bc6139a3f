"""Streams: what has come from one start or one event."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path, Query
from starlette.responses import Response

from ....actors.errors import EventNotFound, InvalidValue
from ....actors.events.stream import Stream, StreamInfo, StreamNode
from ...text import documents, units
from .call import MOST_LISTED, After, Limit, ReadAll, json_answer, router_of
from .models import TIME, answer, answer_of, many

PAGE: Final = answer(
    "StreamPage",
    "Streams, those with the newest tasks and events first.",
    streams=many(answer_of("StreamInfo", StreamInfo, times=documents.STREAM_TIMES)),
    next=str | None,
    stopped=bool,
    looked_back_to=TIME | None,
)
_NODE: Final = answer_of("StreamNode", StreamNode, times=documents.NODE_TIMES, children=list["StreamNode"])
_NODE.model_rebuild(_types_namespace={"StreamNode": _NODE})
STREAM: Final = answer_of("Stream", Stream, roots=many(_NODE))

router = router_of("streams")


@router.get("/streams", response_model=PAGE)
def list_streams(call: ReadAll, limit: Limit = 50, after: After = None) -> Response:
    """List streams. A task alone is none."""
    page = call.runtime.sync.streams(limit=limit, before=after)
    return json_answer(
        {
            "streams": [documents.stream(each) for each in page],
            "next": page.cursor,
            "stopped": page.stopped,
            "looked_back_to": units.iso(page.looked_back_to),
        }
    )


@router.get("/streams/{id}", response_model=STREAM)
def show(
    call: ReadAll,
    id: Annotated[str, Path(description="The id of a stream.", json_schema_extra={"format": "uuid"})],
    limit: Annotated[
        int, Query(ge=1, le=10 * MOST_LISTED, description="The most events and the most tasks.")
    ] = 1_000,
) -> Response:
    """Show the tree of a stream: events, runs and tasks."""
    try:
        return json_answer(documents.stream_tree(call.runtime.sync.stream(id, limit=limit)))
    except InvalidValue as error:
        raise EventNotFound(str(error), id) from error

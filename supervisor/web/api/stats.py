"""Stats: how many tasks there are, what has ended, and why tasks have failed."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import Response

from ....actors.task.outcomes import ErrorGroup, TaskStats, Times
from ...text import documents, units
from ..problems import Refused
from .call import Limit, Read, json_answer, router_of
from .models import TIME, answer, answer_of, many

_TIMES: Final = answer_of("Times", Times)
_STATS: Final[dict[str, Any]] = {"ended": dict[str, int], "wait": _TIMES, "run": _TIMES}
_OWN: Final = answer_of("OwnStats", TaskStats, times=("since",), **_STATS, tasks=dict[str, Any])
STATS: Final = answer_of("Stats", TaskStats, times=("since",), **_STATS, tasks=dict[str, _OWN])  # type: ignore[valid-type]
COUNTS: Final = answer(
    "Counts",
    "How many tasks of each name are in each state. Zeros are left out.",
    tasks=dict[str, dict[str, int]],
)
ERRORS: Final = answer(
    "Errors",
    "Causes of failures, the most frequent first.",
    errors=many(answer_of("ErrorGroup", ErrorGroup, times=documents.GROUP_TIMES)),
    total=int,
    stopped=bool,
    looked_back_to=TIME,
)

Window = Annotated[str, Query(max_length=40, description="The time until now: 10m, 1h, 7d; at most 400d.")]
Task = Annotated[str | None, Query(max_length=255, description="A name or a pattern of names.")]

router = router_of("stats")


@router.get("/counts", response_model=COUNTS)
def counts(call: Read) -> Response:
    """Count tasks by name and state."""
    found = call.runtime.sync.counts()
    return json_answer(
        {"tasks": documents.counts({name: each for name, each in found.items() if call.sees(name)})}
    )


@router.get("/stats", response_model=STATS)
def stats(call: Read, window: Window = "1h", task: Task = None) -> Response:
    """Tell what has ended in a window, and how long it waited and ran, in seconds."""
    return json_answer(documents.stats(call.look.stats(_seconds(window), task, call.sees)))


@router.get("/errors", response_model=ERRORS)
def errors(call: Read, window: Window = "1d", task: Task = None, limit: Limit = 20) -> Response:
    """Tell why tasks have failed or timed out."""
    found = call.look.errors(_seconds(window), task, limit, call.sees)
    return json_answer(
        {
            "errors": [documents.error_group(group) for group in found],
            "total": found.total,
            "stopped": found.stopped,
            "looked_back_to": units.iso(found.looked_back_to),
        }
    )


def _seconds(window: str) -> float:
    try:
        return units.parse_duration(window)
    except ValueError as error:
        raise Refused(400, f"window: {error}") from error

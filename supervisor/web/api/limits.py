"""Limits: what they do just now, and their numbers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import Field
from starlette.responses import Response

from ....actors.task.limits_info import LimitInfo
from .call import PATIENCE, AdminAll, ReadAll, json_answer, router_of
from .models import Body, answer, answer_of, many

LIMITS: Final = answer(
    "Limits",
    "Limits, by name. One with keys has an entry for each key in use.",
    limits=many(answer_of("LimitInfo", LimitInfo, rate=str | None)),
)


class Numbers(Body):
    """Numbers of a limit. One that is not given stays; null means no limit."""

    concurrency: int | None = Field(default=None, description="Attempts at once.")
    rate: str | None = Field(
        default=None, max_length=40, description="Attempts that may begin in a time: 10/s."
    )


LimitName = Annotated[
    str, Path(max_length=255, description="The name of a limit, or of the task that has it.")
]

router = router_of("limits")


@router.get("/limits", response_model=LIMITS)
async def list_limits(call: ReadAll) -> Response:
    """List what limits do just now."""
    found = await call.runtime.limits(timeout=PATIENCE)
    return json_answer({"limits": [each.as_dict() for each in found]})


@router.patch("/limits/{name:path}", status_code=204)
async def set_limit(call: AdminAll, name: LimitName, body: Numbers) -> Response:
    """Set numbers of a limit, for this and later supervisors, until they are set again or taken back."""
    given: dict[str, Any] = {field: getattr(body, field) for field in body.model_fields_set}
    if given:
        await call.runtime.set_limit(name, **given, timeout=PATIENCE)
    return Response(status_code=204)


@router.delete("/limits/{name:path}", status_code=204)
async def reset(call: AdminAll, name: LimitName) -> Response:
    """Take back the numbers that were set: those that the app declares hold again."""
    await call.runtime.set_limit(name, timeout=PATIENCE)
    return Response(status_code=204)

"""Models: the shapes of requests and answers, for the OpenAPI document.

Those of requests are classes that requests are checked with. Those of answers are made from the classes whose data they
show, so that they cannot tell something else. Answers are not checked with them while they are made: tests do that.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from types import GenericAlias
from typing import Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

Model = type[BaseModel]

TIME: Final[Any] = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in an answer."""

_EXACT: Final = ConfigDict(extra="forbid")


class Body(BaseModel):
    """A request's body: JSON with exactly these types and no other fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


def answer(name: str, says: str, /, **members: Any) -> Model:
    """The model of an object with these members: types, or pairs of a type and a default for what may be left out."""
    made: Any = {field: kind if isinstance(kind, tuple) else (kind, ...) for field, kind in members.items()}
    model: Model = create_model(name, __config__=_EXACT, __doc__=says, **made)
    return model


def answer_of(
    name: str, kind: Any, /, *, times: Collection[str] = (), without: Collection[str] = (), **more: Any
) -> Model:
    """The model of what `documents` makes of a dataclass. `more` are further members, or others for the same name."""
    hints = get_type_hints(kind, include_extras=True)
    members = {field.name: hints[field.name] for field in fields(kind) if field.name not in without}
    for field in times:
        members[field] = TIME | None if type(None) in getattr(hints[field], "__args__", ()) else TIME
    says = (kind.__doc__ or "").strip()
    return answer(name, says, **(members | more))


def many(kind: Any) -> Any:
    """The type of a list of these."""
    return GenericAlias(list, (kind,))


PROBLEM: Final = answer(
    "Problem",
    "Why a request was refused (RFC 9457).",
    title=str,
    status=int,
    detail=str,
    error=(str, Field(default="", description="The name of the error as Python programs get it.")),
    data=(dict[str, Any], Field(default={}, description="The data of that error.")),
)

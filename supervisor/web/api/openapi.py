"""The OpenAPI document of the routes under /api."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from starlette.routing import BaseRoute

from .... import __version__
from .models import PROBLEM

#: What each route may answer besides what it declares, by status.
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The request cannot be understood."},
    401: {"description": "No valid token."},
    403: {"description": "The token does not allow this."},
    404: {"description": "There is no such thing."},
    409: {"description": "The task or actor has failed at it, or does not allow it."},
    413: {"description": "The request or a value is too large."},
    422: {"description": "A field is missing, unknown or of the wrong type."},
    429: {"description": "A mailbox is full, or too many wrong tokens came."},
    503: {"description": "No supervisor answers, or it has too much to do: try again later."},
    507: {"description": "The disk is full. Nothing was changed."},
    "default": {"description": "The server has failed."},
}
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_SCHEMES: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of the home, as `understudy token add` makes it.",
    },
}


def openapi(routes: Iterable[BaseRoute], base: str) -> dict[str, Any]:
    """The document of these routes; `base` is the path below which a proxy shows the server."""
    document = get_openapi(
        title="Understudy",
        version=__version__,
        summary="Durable tasks on one host",
        description="Times are ISO 8601 in UTC. Values are shown as on the command line.",
        routes=list(routes),
        servers=[{"url": base or "/"}],
        separate_input_output_schemas=False,
    )
    parts = document["components"]
    schemas = parts["schemas"]
    schemas["Problem"] = PROBLEM.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    parts["securitySchemes"] = _SCHEMES
    document["security"] = [{"token": []}]
    for path in document["paths"].values():
        for operation in path.values():
            for status, says in PROBLEMS.items():
                operation["responses"][str(status)] = {**says, "content": _PROBLEM}
    return document

"""Call: a request of the API, with who makes it and what it may see; and the parameters that several routes take."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from ....actors.access import Role
from ....actors.task.handles import TaskRecord
from ...client.async_runtime import AsyncRuntime
from ...client.store_look import StoreLook
from ...text import units, value_json
from ..context import WebContext, context_of
from ..identity import Identity, identify, needs, needs_all
from ..problems import Refused

PATIENCE: Final = 10.0
"""Seconds that a request waits for the supervisor."""

MOST_LISTED: Final = 1_000
"""Things of one page."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request of the API."""

    identity: Identity
    context: WebContext
    look: StoreLook

    @property
    def runtime(self) -> AsyncRuntime:
        """For what asks the supervisor. Its waits take no thread."""
        return self.context.runtime

    def sees(self, name: str) -> bool:
        """Whether tasks of this name may be seen and changed."""
        return self.identity.sees(name)

    def check(self, name: str) -> None:
        """Refuse the request if it is about a task of this name and may not be."""
        if not self.sees(name):
            raise Refused(403, f"the token of {self.identity.name!r} is not for tasks of this name")

    def read_task(self, id: str) -> TaskRecord:
        """The task with this id, from disk. Raises TaskNotFound, Refused."""
        record = self.runtime.sync.status(id)
        self.check(record.task)
        return record

    async def task(self, id: str) -> TaskRecord:
        """As `read_task`, for the event loop."""
        return await run_in_threadpool(self.read_task, id)


def may(role: str, *, all_tasks: bool = False) -> Any:
    """A dependency that makes the Call, and refuses it without this role. Its attribute `role` says what it needs.

    `all_tasks`: it is about tasks of every name, so a token for some of them alone is refused.
    """
    needed: Any = Depends((needs_all if all_tasks else needs)(role))

    async def call(connection: HTTPConnection, found: Identity = needed) -> Call:
        context = context_of(connection)
        return Call(found, context, StoreLook(context.runtime.sync))

    call.role = Role(role)  # type: ignore[attr-defined]
    return Depends(call)


Read = Annotated[Call, may("read")]
Run = Annotated[Call, may("run")]
ReadAll = Annotated[Call, may("read", all_tasks=True)]
RunAll = Annotated[Call, may("run", all_tasks=True)]
AdminAll = Annotated[Call, may("admin", all_tasks=True)]

Id = Annotated[str, Path(description="The id of a task.", json_schema_extra={"format": "uuid"})]
Limit = Annotated[int, Query(ge=1, le=MOST_LISTED, description="The most of this page.")]
After = Annotated[
    str | None, Query(max_length=1_000, description="`next` of the page before, for the page behind it.")
]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="A request that is sent again with the same key is not carried out again.",
    ),
]


def json_answer(document: Any, status: int = 200, **headers: str) -> Response:
    """The document as JSON, as the command line shows it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(value_json.dumps(document), status, named, "application/json")


async def known_fields(request: Request) -> None:
    """Refuse fields behind the question mark that the route does not take: they are mistakes."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    for name in request.query_params:
        if name not in known:
            raise Refused(
                422, f"{name!r:.100} is no field of this address: it takes {', '.join(known) or 'none'}"
            )


def moment(field: str, text: str) -> float:
    """A time in a request, in seconds since the epoch. Raises Refused."""
    try:
        return units.parse_moment(text)
    except ValueError as error:
        raise Refused(400, f"{field}: {error}") from error


class KnownFirst(APIRoute):
    """A route that reads and checks nothing before it is known who makes the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def known(request: Request) -> Response:
            await identify(request)
            return await handle(request)

        return known


def router_of(noun: str) -> APIRouter:
    """The router of a noun's routes, which are below /api."""
    return APIRouter(prefix="/api", tags=[noun], dependencies=[Depends(known_fields)], route_class=KnownFirst)

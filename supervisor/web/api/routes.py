"""The routes of the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from ..context import WebContext
from ..problems import Refused
from . import (
    access,
    actors,
    bulk,
    events,
    health,
    limits,
    pools,
    schedules,
    stats,
    streams,
    system,
    task_actions,
    tasks,
    trees,
)
from .call import Read, json_answer
from .openapi import openapi

#: The routers of the nouns.
NOUNS: Final = (
    tasks.router,
    task_actions.router,
    actors.router,
    streams.router,
    events.router,
    schedules.router,
    stats.router,
    system.router,
    trees.router,
    limits.router,
    pools.router,
    bulk.router,
    access.router,
)


def routes(context: WebContext) -> APIRouter:
    """The API's routes. They come before those that take every path."""
    router = APIRouter()
    router.include_router(health.router)
    for noun in NOUNS:
        router.include_router(noun)
    made: dict[str, Any] = {}

    @router.get("/api/openapi.json", include_in_schema=False)
    async def document(call: Read) -> Response:
        """The OpenAPI document."""
        if not made:
            made.update(openapi(flat(NOUNS), context.settings.base))
        return json_answer(made)

    router.routes.append(Route("/api/{path:path}", Elsewhere(), include_in_schema=False))
    return router


def flat(routers: Iterable[Any]) -> Iterator[BaseRoute]:
    """The routes of these routers, and of those that they include. Later releases of FastAPI do not copy them."""
    for router in routers:
        for route in router.routes:
            inner = getattr(route, "original_router", None)
            if inner is None:
                yield route
            else:
                yield from flat([inner])


class Elsewhere:
    """What no route takes: 405 if another method would do, else 404. Without it, the app's triggers would be asked."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        there: list[Any] = [
            route for route in flat([scope["app"]]) if route.matches(scope)[0] is Match.PARTIAL
        ]
        # The first one is the most exact: a key or a path may take what stands behind it as well.
        same = [route for route in there if route.path == there[0].path]
        methods = sorted({method for route in same for method in route.methods or ()})
        path = Request(scope).url.path
        if methods:
            raise Refused(405, f"{path} takes {', '.join(methods)}", {"Allow": ", ".join(methods)})
        raise Refused(404, f"the API has nothing at {path:.200}; its addresses are in /api/openapi.json")

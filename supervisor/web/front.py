"""Front: hands a request to the app's triggers or to everything else, by the first part of its path.

The triggers take what no route takes, so FastAPI would compare each of their requests with a hundred routes first.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from .triggers import path_of


class Front:
    """An ASGI application over the two."""

    def __init__(self, others: ASGIApp, triggers: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        """`routes`: those of `others`, which come before the triggers where both have the first part of a path."""
        self._others = others
        self._triggers = triggers
        self._taken = frozenset(_first(getattr(route, "path", "/{path}")) for route in routes)
        assert not any("{" in part for part in self._taken), "a route may not take every path"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        is_trigger = scope["type"] == "http" and _first(path_of(scope)) not in self._taken
        await (self._triggers if is_trigger else self._others)(scope, receive, send)


def _first(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]

"""The routes that watch a task or a stream: `/api/tasks/{id}/watch` and `/api/streams/{id}/watch`, as event streams."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ...actors.access import Role
from ...actors.errors import EventNotFound, InvalidOption, InvalidValue, StoreError, TaskNotFound
from ...actors.ids import id_bytes
from .context import WebContext, context_of
from .identity import Identity, identify_watcher
from .live import formats
from .live.event_stream import RETRY, EventStream
from .live.hub import TooManyReaders
from .live.reader import LiveReader
from .problems import Refused

#: The longest cursor that is looked at.
CURSOR_LIMIT: Final = 512


def routes(context: WebContext) -> APIRouter:
    """The routes, for the root of the web process."""
    router = APIRouter()
    for path, is_stream in (("/api/tasks/{id}/watch", False), ("/api/streams/{id}/watch", True)):
        router.routes.append(Route(path, WatchRoute(context, is_stream=is_stream), methods=["GET"]))
    return router


class WatchRoute:
    """An ASGI application."""

    #: What a token without a signature needs.
    role: Final = Role.READ

    def __init__(self, context: WebContext, *, is_stream: bool) -> None:
        self._context = context
        self._is_stream = is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        connection = HTTPConnection(scope)
        id = watched_id(connection)
        identity = await identify_watcher(connection, id, is_stream=self._is_stream)
        if not id:
            raise Refused(404, "nothing has this id")
        after = connection.headers.get("last-event-id") or connection.query_params.get("after")
        reader = await open_reader(self._context, identity, id, after, is_stream=self._is_stream)
        answer: Response | EventStream
        headers = _headers(connection, identity)
        if after and reader.is_at_end:
            # A browser comes back after the end, too. By this it learns that there is no more.
            self._context.hub.close(reader)
            answer = Response(status_code=204, headers=headers)
        else:
            guard_reader(reader, connection, identity, id, is_stream=self._is_stream)
            format = formats.public_event if identity.by == "watch" else formats.event
            answer = EventStream(self._context.hub, reader, format, headers, begin=RETRY)
        await answer(scope, receive, send)


def watched_id(connection: HTTPConnection) -> bytes:
    """The id in the path; empty for what is none."""
    try:
        return id_bytes(connection.path_params["id"])
    except InvalidValue:
        return b""


async def open_reader(
    context: WebContext, identity: Identity, id: bytes, after: str | None, *, is_stream: bool
) -> LiveReader:
    """A reader of what this identity may see. Raises Refused."""
    if after and len(after) > CURSOR_LIMIT:
        raise Refused(400, "this is no cursor")
    try:
        reader = await context.hub.open(
            task=None if is_stream else id, stream=id if is_stream else None, after=after or None
        )
    except TooManyReaders:
        raise Refused(503, "too many streams are open; try again later", {"Retry-After": "5"}) from None
    except (TaskNotFound, EventNotFound) as error:
        raise Refused(404, str(error)) from error
    except InvalidOption as error:
        raise Refused(400, str(error)) from error
    except StoreError as error:
        raise Refused(503, "the store cannot be read now", {"Retry-After": "5"}) from error
    name = reader.feed.source.name
    if identity.by != "watch" and name is not None and not identity.sees(name):
        context.hub.close(reader)
        raise Refused(403, f"the token of {identity.name!r} is not for this task")
    return reader


def guard_reader(
    reader: LiveReader, connection: HTTPConnection, identity: Identity, id: bytes, *, is_stream: bool
) -> None:
    """Have the stream end when its token does."""
    tokens = context_of(connection).tokens
    reader.expires = identity.expires

    def may_read() -> bool:
        try:
            if identity.by == "watch":
                tokens.watch_grant(connection, connection.query_params["token"])
            elif identity.by != "insecure":
                tokens.identify(connection)
        except Refused as refused:
            # While the home has no key, nothing is known of the token.
            return refused.status == 503
        return True

    reader.may_read = may_read


def _headers(connection: HTTPConnection, identity: Identity) -> dict[str, str]:
    """Lets the pages of other origins read it, if they show a signed token."""
    origin = connection.headers.get("origin")
    if identity.by == "watch" and origin in context_of(connection).settings.origins:
        return {"Access-Control-Allow-Origin": str(origin), "Vary": "Origin"}
    return {}

"""The routes of the dashboard, and how a request becomes a page."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from ....actors.access import Role
from ....actors.errors import UnderstudyError
from ...client.store_look import StoreLook
from ..context import WebContext
from ..identity import Identity, needs_all
from ..problems import status_of
from . import (
    audit,
    bulk,
    errors,
    events,
    limits,
    overview,
    schedules,
    stack,
    start,
    streams,
    system,
    task,
    tasks,
    trees,
)
from .follow import Follower
from .page import Asked, Done, Page
from .render import render
from .static_files import static

FORM_LIMIT: Final = 1 << 20
"""Bytes of a form that was sent."""

NOTICE: Final = "understudy_notice"
"""The cookie that holds what the next page says of an action."""


Make = Callable[[Asked], Page | Done]

#: Pages by their address, which everybody with the role "read" may see.
PAGES: Final[dict[str, Make]] = {
    "/": overview.page,
    "/tasks": tasks.page,
    "/tasks/{id}": task.page,
    "/tasks/{id}/log": task.log,
    "/tasks/{id}/stack": stack.page,
    "/errors": errors.page,
    "/schedules": schedules.page,
    "/schedules/{key:path}": schedules.one,
    "/events": events.page,
    "/events/{id:path}": events.one,
    "/streams": streams.page,
    "/streams/{id}": streams.one,
    "/trees": trees.page,
    "/limits": limits.page,
    "/system": system.page,
    "/start": start.page,
    "/bulk": bulk.page,
    "/bulk/{id}": bulk.one,
}

#: Those that only admins may see.
ADMIN_PAGES: Final[dict[str, Make]] = {"/audit": audit.page}

#: Actions by their address. Each is a form that is sent, and needs the role "run".
ACTIONS: Final[dict[str, Make]] = {
    "/tasks/{id}/cancel": task.cancel,
    "/tasks/{id}/retry": task.retry,
    "/tasks/{id}/send": task.send,
    "/tasks/{id}/close": task.close,
    "/schedules/{key:path}/pause": schedules.pause,
    "/schedules/{key:path}/resume": schedules.resume,
    "/schedules/{key:path}/run": schedules.run,
    "/schedules/{key:path}/cancel": schedules.cancel,
    "/schedules/{key:path}/backfill": schedules.backfill,
    "/events/{id:path}/replay": events.replay,
    "/start": start.start,
    "/bulk": bulk.apply,
    "/bulk/{id}/cancel": bulk.cancel,
}

#: Those that need the role "admin": they change what others run.
ADMIN_ACTIONS: Final[dict[str, Make]] = {
    "/trees/{path:path}/restart": trees.restart,
    "/trees/{path:path}/stop": trees.stop,
    "/limits": limits.change,
}


def routes(context: WebContext) -> APIRouter:
    """The dashboard's routes, for the root of the web process."""
    read, run, admin = ([Depends(needs_all(role))] for role in ("read", "run", "admin"))
    router = APIRouter(include_in_schema=False)
    # Before the pages, so that no key or id can be taken for an action.
    for actions, role in ((ACTIONS, run), (ADMIN_ACTIONS, admin)):
        for path, make in actions.items():
            router.add_api_route(path, _action(context, make), methods=["POST"], dependencies=role)
    router.add_api_route("/live", _live(context), methods=["GET"], dependencies=read)
    # These are the same for everybody, and the page to log in may use them.
    router.add_api_route("/static/{path:path}", static, methods=["GET"])
    for pages, role in ((PAGES, read), (ADMIN_PAGES, admin)):
        for path, make in pages.items():
            router.add_api_route(path, _page(context, make), methods=["GET"], dependencies=role)
    return router


def _page(context: WebContext, make: Make) -> Callable[[Request], Any]:
    async def show(request: Request) -> Response:
        return await run_in_threadpool(_answer, context, request, {}, make)

    return show


def _action(context: WebContext, make: Make) -> Callable[[Request], Any]:
    async def act(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > FORM_LIMIT:
                return Response("the form is too large", 413)
        try:
            form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=1000))
        except ValueError:
            return Response("the form cannot be read", 400)
        return await run_in_threadpool(_answer, context, request, form, make)

    return act


def _answer(context: WebContext, request: Request, form: dict[str, str], make: Make) -> Response:
    began = time.perf_counter()
    base = request.scope.get("root_path", "").rstrip("/")
    identity: Identity = request.state.identity
    asked = Asked(
        context.runtime.sync,
        StoreLook(context.runtime.sync, context.ages),
        request.path_params,
        dict(request.query_params),
        form,
        base,
        admin=identity.may(Role.ADMIN),
        who=identity.name,
    )
    try:
        made = make(asked)
    except (UnderstudyError, TimeoutError, TypeError) as error:
        made = _problem(error)
    if isinstance(made, Done):
        answer: Response = RedirectResponse(made.address, 303)
        if made.say:
            answer.set_cookie(
                NOTICE, quote(made.say[:500]), max_age=60, path=base or "/", httponly=True, samesite="strict"
            )
        return answer
    notice = unquote(request.cookies.get(NOTICE, ""))
    is_part = "hx-request" in request.headers
    html = render(
        made.template,
        base=base,
        path=request.url.path[len(base) :] or "/",
        title=made.title,
        notice="" if is_part else notice,
        frame="part.html" if is_part else "frame.html",
        link=asked.link,
        still=made.still,
        admin=asked.admin,
        **made.data,
    )
    data = html.encode()
    tag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
    headers = {
        "ETag": tag,
        "Server-Timing": f"page;dur={(time.perf_counter() - began) * 1000:.1f}",
    }
    if made.status == 200 and request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    answer = Response(data, made.status, headers, "text/html; charset=utf-8")
    if notice and not is_part:
        answer.delete_cookie(NOTICE, path=base or "/", httponly=True, samesite="strict")
    return answer


def _problem(error: Exception) -> Page:
    # A TypeError is that of arguments which do not fit the task.
    status = 400 if isinstance(error, TypeError) else status_of(error)
    return Page("problem.html", "Problem", {"kind": type(error).__name__, "message": str(error)}, status)


def _live(context: WebContext) -> Callable[[], Any]:
    follower = Follower(context.runtime)

    async def live() -> Response:
        return StreamingResponse(
            follower.lines(context.closing),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return live

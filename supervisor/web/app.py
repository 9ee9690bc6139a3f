"""The apps of the web process: one with everything, and one with the triggers alone."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ...actors.errors import UnderstudyError
from .context import WebContext
from .front import Front
from .problems import Refused, problem, problem_of
from .triggers import Triggers

#: Mistakes that one answer names.
MISTAKES: Final = 5


def create_app(context: WebContext) -> ASGIApp:
    """The app of a listener: triggers, and for `web` the API, the dashboard and the page to log in as well."""
    if context.listener == "http":
        return _guarded(Triggers(context))
    from .api.routes import flat

    app = create_pages(context)
    *routes, last = flat([app])
    assert isinstance(last, Route)
    return Front(app, last.app, routes)


def create_pages(context: WebContext) -> FastAPI:
    """The API, the dashboard, the page to log in and, behind all of these, the triggers."""
    # A process with triggers alone does not need their memory.
    from . import api, dashboard, login, metrics, task_socket, watch_routes

    # The pages of FastAPI load scripts from elsewhere.
    app = FastAPI(title="Understudy", openapi_url=None, docs_url=None, redoc_url=None)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _defect)
    for part in (login, watch_routes, task_socket, metrics, api, dashboard):
        app.include_router(part.routes(context))
    # Last: an app's trigger must not take the path of something else.
    app.router.routes.append(Route("/{path:path}", _guarded(Triggers(context))))
    return app


def _guarded(triggers: Triggers) -> ASGIApp:
    """The triggers, with what FastAPI has around its routes."""
    return ServerErrorMiddleware(ExceptionMiddleware(triggers, _HANDLERS), _defect)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if error.status == 401 and request.method == "GET" and _is_page(request):
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        base = request.scope.get("root_path", "")
        return RedirectResponse(f"{base}/login?next={quote(path)}", 303)
    return error.response


async def _failed(request: Request, error: Exception) -> Response:
    return problem_of(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    for each in error.errors():
        if each["type"] == "json_invalid":
            return problem(
                400, f"the body is not JSON: {each['ctx']['error']}, at character {each['loc'][-1]}"
            )
    found = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:MISTAKES]]
    return problem(422, "; ".join(found))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, str(error.detail), headers=error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    # The server logs it with its traceback.
    return problem(500, "this is a defect of the server, whose log says more")


def _is_page(request: Request) -> bool:
    """Whether a browser asks for a page, not a script for data."""
    return "text/html" in request.headers.get("accept", "") and "authorization" not in request.headers


_HANDLERS: Final[dict[Any, Any]] = {
    Refused: _refused,
    UnderstudyError: _failed,
    TimeoutError: _failed,
    HTTPException: _http,
}

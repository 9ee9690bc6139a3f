"""The apps of the web process: one with everything, and one with the triggers alone."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ...actors.errors import UnderstudyError
from . import login, metrics, task_socket, watch_routes
from .context import WebContext
from .problems import Refused, problem, problem_of

#: Mistakes that one answer names.
MISTAKES: Final = 5


def create_app(context: WebContext) -> FastAPI:
    """The app of a listener: triggers, and for `web` the API, the dashboard and the page to log in as well."""
    # The pages of FastAPI load scripts from elsewhere.
    app = FastAPI(title="Understudy", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.context = context
    app.add_exception_handler(Refused, _refused)
    for kind in (UnderstudyError, TimeoutError):
        app.add_exception_handler(kind, _failed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)
    if context.listener == "web":
        app.include_router(login.routes(context))
        app.include_router(watch_routes.routes(context))
        app.include_router(task_socket.routes(context))
        app.include_router(metrics.routes(context))
        _mount(app, "api", "routes", context)
        _mount(app, "dashboard", "routes", context)
    # Last: an app's trigger must not take the path of something else.
    _mount(app, "triggers", "routes", context)
    return app


def _mount(app: FastAPI, module: str, function: str, context: WebContext) -> None:
    """Add the routes of a part. Parts that are absent are left out."""
    name = f"{__package__}.{module}"
    if find_spec(name) is not None:
        routes: Any = getattr(import_module(name), function)(context)
        app.include_router(routes)


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

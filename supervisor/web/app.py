"""The apps of the web process: one with everything, and one with the triggers alone."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import login
from .context import WebContext
from .problems import Refused


def create_app(context: WebContext) -> FastAPI:
    """The app of a listener: triggers, and for `web` the API, the dashboard and the page to log in as well."""
    # The pages of FastAPI load scripts from elsewhere.
    app = FastAPI(title="Understudy", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.context = context
    app.add_exception_handler(Refused, _refused)
    if context.listener == "web":
        app.include_router(login.routes(context))
        _mount(app, "api", "router", context)
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


def _is_page(request: Request) -> bool:
    """Whether a browser asks for a page, not a script for data."""
    return "text/html" in request.headers.get("accept", "") and "authorization" not in request.headers

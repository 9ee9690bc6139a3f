"""The page to log in: a token becomes a session, whose cookie no script can read."""

from __future__ import annotations

import html
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ...actors.access import Role
from .context import WebContext
from .identity import EVERYBODY, Identity, identify, needs
from .problems import Refused
from .tokens import address_of

#: Takes the token from the fragment of the URL, which no server ever sees, and sends the form.
SCRIPT = """\
const token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  document.getElementById("token").value = token;
  document.getElementById("login").submit();
}
"""
STYLE = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 15vh auto; max-width: 24rem; padding: 0 1rem; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; margin: 0.5rem 0; }
input, button { padding: 0.5rem; }
"""


def routes(context: WebContext) -> APIRouter:
    """The routes of the page to log in."""
    router = APIRouter(include_in_schema=False)
    base = context.settings.base

    @router.get("/login")
    async def page(request: Request) -> Response:
        return _page(base, request.query_params.get("next", ""))

    @router.get("/login/login.js")
    async def script() -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    @router.get("/login/login.css")
    async def style() -> Response:
        return Response(STYLE, media_type="text/css")

    @router.post("/login")
    async def log_in(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=10)
        path = _inside(base, fields.get("next", [""])[0])
        if context.insecure:
            request.state.identity = EVERYBODY
            return RedirectResponse(path, 303)
        try:
            token = context.tokens.check(fields.get("token", [""])[0].strip(), address_of(request))
        except Refused as refused:
            if refused.status == 401:
                # The audit keeps it; after some of them the address is refused, and nothing more is kept.
                request.state.identity = Identity("wrong token", Role.READ)
            return _page(base, path, refused)
        request.state.identity = Identity(token.name, token.role, token.tasks, token.id, "session")
        value, seconds = context.tokens.new_session(token)
        answer = RedirectResponse(path, 303)
        answer.set_cookie(
            context.tokens.cookie,
            value,
            max_age=seconds,
            path=base or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        try:
            await identify(request)
        except Refused:
            pass
        answer = RedirectResponse(f"{base}/login", 303)
        answer.delete_cookie(context.tokens.cookie, path=base or "/", httponly=True, samesite="strict")
        return answer

    @router.get("/whoami")
    async def who_am_i(identity: Annotated[Identity, Depends(needs("read"))]) -> dict[str, object]:
        return {
            "name": identity.name,
            "role": str(identity.role),
            "tasks": list(identity.tasks),
            "by": identity.by,
        }

    return router


def _inside(base: str, path: str) -> str:
    """The path to go on to; that of the first page for one that leads elsewhere."""
    parts = urlsplit(path)
    below = path.startswith(f"{base}/")
    if (
        parts.scheme
        or parts.netloc
        or not below
        or path.startswith("//")
        or "\\" in path
        or not path.isprintable()
    ):
        return f"{base}/"
    return path


def _page(base: str, path: str, refused: Refused | None = None) -> Response:
    said = "" if refused is None else f'<p role="alert">{html.escape(refused.message)}</p>'
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Log in · Understudy</title>
<link rel="stylesheet" href="{base}/login/login.css">
<script src="{base}/login/login.js" defer></script>
</head>
<body>
<main>
<h1>Understudy</h1>
{said}
<form id="login" method="post" action="{base}/login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input name="next" type="hidden" value="{html.escape(path)}">
<button>Log in</button>
</form>
<p>The first token is in the file <code>web.token</code> of the home. <code>understudy token add</code> makes more.</p>
</main>
</body>
</html>
"""
    headers = {} if refused is None else refused.headers
    return HTMLResponse(text, 200 if refused is None else refused.status, headers)

"""Who may do what: each route of the web process with the role that it needs. A route without a line here fails."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import BaseRoute

from understudy.storage.reader import Reader
from understudy.supervisor.client.async_runtime import AsyncRuntime
from understudy.supervisor.web.api.routes import flat
from understudy.supervisor.web.app import create_pages
from understudy.supervisor.web.audit import Audit
from understudy.supervisor.web.context import WebContext
from understudy.supervisor.web.live.hub import Hub
from understudy.supervisor.web.tokens import Tokens
from understudy.supervisor.web_settings import WebSettings
from web_client import Web, web
from web_roles import ROLES

ID = "0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d"

ORDER = ("read", "run", "admin")
#: A stream of events that does not end by itself: only its refusals are looked at.
ENDLESS = {"GET /live"}


def names(routes: list[BaseRoute]) -> Iterator[str]:
    """Each route as "METHOD /path"; "*" for all methods."""
    for route in routes:
        methods = sorted(getattr(route, "methods", None) or {"*"})
        for method in methods:
            if method != "HEAD":
                yield f"{method} {route.path}"  # type: ignore[attr-defined]


async def served(home: Path) -> list[BaseRoute]:
    runtime, settings = AsyncRuntime.connect(home), WebSettings()
    with Reader(home) as reader:
        closing = asyncio.Event()
        tokens, hub = Tokens(reader, settings), Hub(reader, closing, 1)
        context = WebContext(runtime, reader, settings, tokens, Audit(runtime), hub, closing)
        found = list(flat([create_pages(context)]))
    await runtime.close()
    return found


def test_every_route_stands_in_the_table(home: Path):
    found = list(names(asyncio.run(served(home))))
    assert sorted(found) == sorted(ROLES), "write who may do this into ROLES"


def test_the_triggers_come_last_and_the_apis_404_before_them(home: Path):
    found = list(names(asyncio.run(served(home))))
    assert found[-1] == "* /{path:path}"
    last = max(place for place, name in enumerate(found) if " /api/" in name)
    assert found[last] == "* /api/{path:path}"


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home) as served:
        yield served


@pytest.fixture(scope="module")
def tokens(it: Web) -> dict[str, str]:
    made = {role: it.rt.add_token(role, role=role) for role in ORDER}  # type: ignore[arg-type]
    return made | {
        f"{role} of some": it.rt.add_token(f"{role} of some", role=role, tasks=["x:*"]) for role in ORDER
    }  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in ROLES if not name.startswith("*")])
class TestRoles:
    def test_who_may(self, it: Web, tokens: dict[str, str], name: str):
        method, path = name.split(" ")
        path = re.sub(r"\{[^}]+\}", ID, path)
        needed = ROLES[name]

        def status(token: str | None) -> int:
            return it.request(method, path, token, headers={"Accept": "*/*"}).status_code

        if needed is None:
            data = {"token": it.token} if name == "POST /login" else None
            assert it.request(method, path, None, data=data).status_code not in (401, 403)
            return
        least = ORDER.index(needed.removesuffix("*"))
        assert status(None) == 401
        for role in ORDER[:least]:
            assert status(tokens[role]) == 403, role
        if needed.endswith("*"):
            assert status(tokens["admin of some"]) == 403
        if name not in ENDLESS:
            for role in ORDER[least:]:
                assert status(tokens[role]) not in (401, 403, 500), role


def test_no_body_is_read_before_the_token_is_known(it: Web):
    wrong: Any = {"content": b"{", "headers": {"Content-Type": "application/json"}}
    assert it.post("/api/tasks?nonsense=1", None, **wrong).status_code == 401
    assert it.post("/api/tasks?nonsense=1", **wrong).status_code == 400

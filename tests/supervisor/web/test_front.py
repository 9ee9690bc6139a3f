from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from understudy.supervisor.web.front import Front

ROUTES = [
    Route("/", PlainTextResponse("")),
    Route("/api/tasks/{id}", PlainTextResponse("")),
    Route("/healthz", PlainTextResponse("")),
    WebSocketRoute("/ws/tasks/{id}", PlainTextResponse("")),
]


def asked(path: str, *, type: str = "http", root: str = "") -> str:
    found: list[str] = []

    def app(name: str) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            found.append(name)

        return answer

    front = Front(app("others"), app("triggers"), ROUTES)
    scope = {"type": type, "path": root + path, "root_path": root, "method": "POST"}
    asyncio.run(front(scope, None, None))  # type: ignore[arg-type]
    (name,) = found
    return name


@pytest.mark.parametrize("root", ["", "/base"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "others"),
        ("/api", "others"),
        ("/api/tasks/7", "others"),
        ("/api/none/of/it", "others"),
        ("/healthz", "others"),
        ("/healthz/more", "others"),
        ("/ws/x", "others"),
        ("/hooks/github", "triggers"),
        ("/apis", "triggers"),
        ("/ap", "triggers"),
        ("/{id}", "triggers"),
    ],
)
def test_the_first_part_of_the_path_decides(path: str, name: str, root: str):
    assert asked(path, root=root) == name


def test_only_requests_go_to_triggers():
    assert asked("/hooks/github", type="websocket") == "others"
    assert asked("/hooks/github", type="lifespan") == "others"


def test_a_route_that_takes_every_path_is_refused():
    with pytest.raises(AssertionError, match="every path"):
        Front(PlainTextResponse(""), PlainTextResponse(""), [Route("/{path:path}", PlainTextResponse(""))])

"""Handlers of HTTP requests for tests."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from understudy import (
    BadRequest,
    Request,
    Response,
    Retry,
    accepted,
    cancelled,
    current,
    github,
    http,
    live,
    publish,
    receive,
    sleep,
    standard_webhooks,
    task,
)


@http("POST", "/echo/{name}", auth="none")
@http("GET", "/echo/{name}", auth="none")
def echo(request: Request) -> dict[str, Any]:
    """Everything that the handler gets."""
    trigger = current().trigger
    assert trigger is not None
    return {
        "status": 418,
        "method": request.method,
        "path": request.path,
        "params": dict(request.params),
        "query": dict(request.query),
        "headers": dict(request.headers),
        "body": request.body,
        "kind": current().kind,
        "trigger": [trigger.method, trigger.path],
    }


@http("GET", "/nothing", auth="none")
def nothing(request: Request) -> None: ...


@http("GET", "/nothing/async", auth="none")
async def nothing_async(request: Request) -> None: ...


@http("GET", "/made", auth="none")
def made(request: Request) -> Response:
    return Response(201, {"Location": "/thing", "Content-Type": "text/plain"}, "ü")


@http("POST", "/fails/{how}", auth="none")
def fails(request: Request) -> Any:
    how = request.params["how"]
    if how == "json":
        return request.json()
    if how == "bad":
        raise BadRequest("no such pet: <b>")
    raise RuntimeError("the password is swordfish")


@http("GET", "/slow", auth="none", timeout=0.2)
def slow(request: Request) -> str:
    return str(receive(timeout=60))


@http("GET", "/leaves", auth="none", on_disconnect="cancel")
async def leaves(request: Request) -> None:
    await asyncio.sleep(60)


@task
def answer(question: str) -> str:
    for number, word in enumerate(question.split()):
        publish("word", {"n": number, "text": word})
    return "done"


@http("POST", "/chat", auth="none")
def chat(request: Request) -> object:
    return live(answer.start(request.json()))


@http("POST", "/later", auth="none")
def later(request: Request) -> object:
    return accepted(answer.start("a b"))


@http("POST", "/members", auth="token")
def members(request: Request) -> str:
    return "in"


@http("POST", "/busy", auth="none")
def busy(request: Request) -> float:
    """When it has begun."""
    return time.time()


@http("POST", "/busy/async", auth="none")
async def busy_async(request: Request) -> float:
    return time.time()


@task
def occupies(seconds: float) -> None:
    """Keeps its slot until it is cancelled: Understudy does not know that it waits."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not cancelled():
        time.sleep(0.01)


@http("POST", "/waits", auth="none")
def waits(request: Request) -> str:
    """Gives up its slot while it waits."""
    sleep(0.3)
    return "waited"


def _note(name: str, text: str) -> None:
    with Path(os.environ["UNDERSTUDY_TEST_NOTES"], name).open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


@http(
    "POST",
    "/hooks/github",
    verify=github("env:GITHUB_SECRET", "file:/nonexistent/secret"),
    ack=True,
    dedupe="X-GitHub-Delivery",
    retry=Retry(attempts=3, delay=0.01),
)
def pushed(request: Request) -> str:
    """Fails once."""
    trigger = current().trigger
    assert trigger is not None
    assert trigger.delivery is not None
    if current().attempt == 1 and request.json().get("fails"):
        raise OSError("not yet")
    _note("pushed", trigger.delivery)
    return trigger.delivery


@http("POST", "/hooks/standard", verify=standard_webhooks("env:STANDARD_SECRET"), dedupe="webhook-id")
def standard(request: Request) -> str:
    """Answers with its own value, once for each delivery."""
    _note("standard", request.headers["webhook-id"])
    return current().id

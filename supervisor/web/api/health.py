"""Health: whether this process answers, and whether tasks can be started."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from ....actors.errors import UnderstudyError
from ..context import context_of
from ..problems import problem
from .call import json_answer

PATIENCE: Final = 2.0
"""Seconds that the supervisor gets to answer."""

# For everybody, because what asks is a machine without a token. The answers tell nothing else.
router = APIRouter(tags=["health"])


@router.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
async def alive() -> Response:
    """200 as long as the web process answers."""
    return json_answer({"status": "ok"})


@router.api_route("/readyz", methods=["GET", "HEAD"], include_in_schema=False)
async def ready(request: Request) -> Response:
    """200 if the store can be read and the supervisor takes work, else 503."""
    context = context_of(request)
    try:
        await run_in_threadpool(context.reader.token, "")
        tree = await context.runtime.tree(timeout=PATIENCE)
    except (UnderstudyError, TimeoutError):
        return problem(
            503, "no supervisor answers, or the store cannot be read", headers={"Retry-After": "1"}
        )
    if tree["draining"] or tree["disk_full"]:
        return problem(503, "the supervisor is stopping, or the disk is full", headers={"Retry-After": "1"})
    return json_answer({"status": "ready"})

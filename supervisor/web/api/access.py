"""Access: the tokens of the home, and the audit."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Path
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ....actors.access import AuditEntry, Role, TokenInfo
from ....storage.tables.access_rows import AUDIT_KEY_BYTES
from ...text import documents
from ..problems import Refused
from .call import PATIENCE, AdminAll, After, Limit, json_answer, router_of
from .models import Body, answer, answer_of, many

TOKEN: Final = answer_of("Token", TokenInfo, times=documents.TOKEN_TIMES)
TOKENS: Final = answer("Tokens", "Tokens, by time of creation.", tokens=many(TOKEN))
MADE: Final = answer_of("NewToken", TokenInfo, times=documents.TOKEN_TIMES, token=str)
AUDIT: Final = answer(
    "Audit",
    "What was changed or refused, newest first.",
    entries=many(answer_of("AuditEntry", AuditEntry, times=("time",))),
    next=str | None,
)


class Grant(Body):
    """A token to make."""

    name: str = Field(min_length=1, max_length=100)
    role: str = Field(default="read", pattern="^(read|run|admin)$")
    tasks: list[str] = Field(default_factory=lambda: ["*"], min_length=1, max_length=100)
    expires: float | None = Field(default=None, gt=0, description="Seconds for which it is valid.")


router = router_of("access")


@router.get("/tokens", response_model=TOKENS)
def tokens(call: AdminAll) -> Response:
    """List the tokens of the home, those that have expired included. Their texts are not stored."""
    return json_answer({"tokens": [documents.token(each) for each in call.runtime.sync.tokens()]})


@router.post("/tokens", status_code=201, response_model=MADE)
async def add(call: AdminAll, body: Grant) -> Response:
    """Make a token. Its text is in this answer and nowhere else."""
    role = Role(body.role)
    text = await call.runtime.add_token(
        body.name, role=role.value, tasks=body.tasks, expires=body.expires, timeout=PATIENCE
    )
    made = next(each for each in await call.runtime.tokens() if each.name == body.name)
    return json_answer({"token": text, **documents.token(made)}, 201)


@router.delete("/tokens/{name:path}", status_code=204)
async def remove(call: AdminAll, name: Annotated[str, Path(max_length=100)]) -> Response:
    """Remove the token with this name or id. It is refused from the next request on, and its sessions as well."""
    if not await call.runtime.remove_token(name, timeout=PATIENCE):
        raise Refused(404, f"there is no token with the name or id {name!r:.120}")
    return Response(status_code=204)


@router.get("/audit", response_model=AUDIT)
async def audit(call: AdminAll, limit: Limit = 100, after: After = None) -> Response:
    """Read the audit. The last 10,000 entries are kept."""
    before = None if after is None else _mark(after)
    rows = await run_in_threadpool(call.context.reader.audit, limit, before)
    return json_answer(
        {
            "entries": [documents.audit_entry(entry) for _, entry in rows],
            "next": rows[-1][0].hex() if len(rows) == limit else None,
        }
    )


def _mark(text: str) -> bytes:
    try:
        mark = bytes.fromhex(text)
    except ValueError:
        mark = b""
    if len(mark) != AUDIT_KEY_BYTES:
        raise Refused(400, "after is the `next` of a page before")
    return mark

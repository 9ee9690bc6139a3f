"""Triggers: it answers HTTP requests with runs of the tasks that are declared for them.

A request is matched, its caller checked, its run put on disk, in this order. No code of the app runs here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from ...actors.access import Role
from ...actors.errors import (
    AppFailed,
    ErrorInfo,
    InvalidOption,
    InvalidValue,
    NotRunning,
    NotUnique,
    StoreError,
    StoreFull,
    SupervisorLost,
    TaskNotFound,
    TriggerChanged,
    UnknownPool,
    ValueTooLarge,
)
from ...actors.http.declaration import HttpTrigger
from ...actors.http.request import Headers, Request
from ...actors.http.response import Handover, Response
from ...actors.http.signature import refusal
from ...actors.ids import id_bytes, id_text
from ...actors.state import State
from ..client.http_calls import Handled, HttpRun
from ..client.http_door import HttpDoor
from ..client.wait import EndsWait, Row
from ..text import value_json
from .context import WebContext
from .identity import identify
from .live import formats
from .live.event_stream import EventStream
from .live.hub import TooManyReaders
from .problems import Refused, problem
from .trigger_table import Match, TriggerTable, secrets_of

log = logging.getLogger("understudy")

#: Seconds that a request waits for the supervisor to store its run.
PATIENCE: Final = 10.0
#: Bytes of the header that names a delivery.
DELIVERY_LIMIT: Final = 500
#: How often a request is checked again because its declaration has changed meanwhile.
TRIES: Final = 3
#: The header that names the run.
RUN: Final = "understudy-run"

_SOON: Final = {"Retry-After": "1"}
_UNAVAILABLE: Final = (NotRunning, SupervisorLost, StoreFull, AppFailed, UnknownPool, TimeoutError)


class Triggers:
    """An ASGI application."""

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._runtime = context.runtime
        self._door = HttpDoor(context.runtime, patience=PATIENCE)
        self._table = TriggerTable(self._door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            answer = await self._answer(scope, receive)
        except Refused as refused:
            answer = refused.response
        except _Gone:
            return
        except _UNAVAILABLE as error:
            log.warning("a request to %s was not taken: %s", scope["path"], error)
            answer = problem(503, "try again later", headers=_SOON)
        if isinstance(answer, _Live):
            await self._stream(answer, scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> ASGIApp | _Live:
        method, path = scope["method"], path_of(scope)
        body: bytes | None = None
        for tried in range(TRIES):
            match = await self._match(method, path)
            trigger = match.handled.trigger
            headers = Headers(
                [(name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]]
            )
            if trigger.auth == "token":
                await self._check_token(scope, match.handled.task)
            if body is None:
                body = await _body(receive)
            if trigger.verify is not None and (why := _refusal(trigger, headers, body)) is not None:
                # The app may have a new way to check by now.
                if not tried and await self._table.refresh():
                    continue
                log.warning("a request to %s %s is refused: %s", method, path, why)
                raise Refused(401, "the signature is not valid")
            delivery = _delivery(trigger, headers)
            request = Request(
                method,
                path,
                headers=Headers(pair for pair in headers.pairs if pair[0] not in trigger.secret_headers),
                body=body,
                params=match.params,
                query_pairs=tuple(
                    parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
                ),
            )
            try:
                return await self._run(match.handled, request, delivery, receive)
            except TriggerChanged:
                await self._table.refresh(now=True)
            except ValueTooLarge as error:
                raise Refused(413, "the request is too large") from error
            except NotUnique as error:
                raise Refused(409, f"another run has the key of this one: {error.id}") from error
        raise Refused(503, "the app is being changed", _SOON)

    async def _match(self, method: str, path: str) -> Match:
        match = await self._table.match(method, path)
        if isinstance(match, Match):
            return match
        if match:
            raise Refused(405, f"{path} takes {', '.join(match)}", {"Allow": ", ".join(match)})
        raise Refused(404, "nothing is here")

    async def _check_token(self, scope: Scope, task: str) -> None:
        found = await identify(HTTPConnection(scope))
        if not (found.may(Role.RUN) and found.sees(task)):
            raise Refused(403, f"the token of {found.name!r} does not allow this")

    async def _run(
        self, handled: Handled, request: Request, delivery: str | None, receive: Receive
    ) -> ASGIApp | _Live:
        trigger = handled.trigger
        if trigger.ack:
            run = await self._door.start(handled, request, delivery)
            return _json(202, {"run": id_text(run.id)}, run)
        began = time.monotonic()
        run, wait = await self._door.start_and_wait(handled, request, delivery)
        left = max(0.0, trigger.timeout - (time.monotonic() - began))
        # A run that was there is not this caller's alone.
        cancels = trigger.on_disconnect == "cancel" and not run.repeated
        row = await self._end(run, wait, left, receive if cancels else None)
        if row is None:
            return _problem(504, f"the run has not ended within {trigger.timeout:g} s; it goes on", run)
        return _answer_of(run, row, request)

    async def _end(self, run: HttpRun, wait: EndsWait, seconds: float, receive: Receive | None) -> Row | None:
        """The end of a run. With `receive`, the run is cancelled when the caller goes away."""
        if receive is None:
            return await self._door.end(run, wait, seconds)
        end = asyncio.ensure_future(self._door.end(run, wait, seconds))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({end, gone}, return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                return end.result()
            with suppress(TaskNotFound):
                await self._runtime.cancel(id_text(run.id), timeout=PATIENCE)
            raise _Gone
        finally:
            await _end_all(end, gone)

    async def _stream(self, live: _Live, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what a task publishes as server-sent events, until it has ended or the reader is gone."""
        hub = self._context.hub
        answer: ASGIApp
        try:
            reader = await hub.open(task=live.task_id, after=live.after)
        except TaskNotFound:
            answer = _problem(404, "this task is not known", live.run)
        except InvalidOption:
            answer = _problem(400, "Last-Event-ID is of another stream", live.run)
        except (TooManyReaders, StoreError):
            answer = problem(503, "try again later", headers={**_SOON, RUN: id_text(live.run.id)})
        else:
            answer = EventStream(hub, reader, formats.answer_event, {RUN: id_text(live.run.id)})
        await answer(scope, receive, send)


class Answer:
    """An answer with a body."""

    __slots__ = ("_body", "_headers", "_status")

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        headers = _encoded(self._headers)
        if self._status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(self._body)))
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


class _Live:
    """The answer is the stream of a task."""

    __slots__ = ("after", "run", "task_id")

    def __init__(self, task_id: bytes, run: HttpRun, after: str | None) -> None:
        self.task_id = task_id
        self.run = run
        self.after = after


class _Gone(Exception):
    """The caller has gone away."""


def path_of(scope: Scope) -> str:
    """The path below the base path, if there is one."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return (path.removeprefix(root) if root and path.startswith(root + "/") else path) or "/"


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _refusal(trigger: HttpTrigger, headers: Headers, body: bytes) -> str | None:
    assert trigger.verify is not None
    secrets = secrets_of(trigger.verify)
    if not secrets:
        raise Refused(500, "this server cannot check signatures now")
    try:
        return refusal(trigger.verify, headers, body, secrets, time.time())
    except ValueError as error:
        log.error("a secret of %s %s: %s", trigger.method, trigger.path, error)  # noqa: TRY400 - no traceback is needed
        raise Refused(500, "this server cannot check signatures now") from error


def _delivery(trigger: HttpTrigger, headers: Headers) -> str | None:
    if trigger.dedupe is None:
        return None
    delivery = headers.get(trigger.dedupe, "").strip()
    if not 0 < len(delivery) <= DELIVERY_LIMIT:
        raise Refused(
            400, f"the header {trigger.dedupe} must name the delivery, in at most {DELIVERY_LIMIT} bytes"
        )
    return delivery


async def _gone(receive: Receive) -> None:
    """Return when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _answer_of(run: HttpRun, row: Row, request: Request) -> ASGIApp | _Live:
    _, state, packed, error = row
    if state == State.COMPLETED:
        return _value(packed, run, request)
    if state == State.TIMED_OUT:
        return _problem(504, "the run has timed out", run)
    if state == State.CANCELLED:
        return _problem(503, "the run was cancelled", run)
    failed = None if error is None else ErrorInfo(*error[:2])
    if failed is not None and failed.type == "BadRequest":
        return _problem(400, failed.message, run)
    # What has failed is for the log and the dashboard: the caller may be anybody.
    return _problem(500, "the run has failed", run)


def _value(packed: bytes | None, run: HttpRun, request: Request) -> ASGIApp | _Live:
    try:
        value = value_json.unpack(packed)
    except InvalidValue:
        return _problem(500, "the value of the run cannot be shown", run)
    named = {RUN: id_text(run.id)}
    if value is None:
        return Answer(204, named, b"")
    if isinstance(value, Response):
        body = value.body.encode() if isinstance(value.body, str) else value.body
        return Answer(value.status, {**value.headers, **named}, body)
    if isinstance(value, Handover):
        if value.kind == "accepted":
            return _json(202, {"id": value.task_id, "run": id_text(run.id)}, run)
        return _Live(id_bytes(value.task_id), run, request.headers.get("last-event-id"))
    return Answer(200, {"content-type": "application/json", **named}, value_json.dumps(value).encode())


def _json(status: int, fields: dict[str, Any], run: HttpRun) -> Answer:
    return Answer(
        status, {"content-type": "application/json", RUN: id_text(run.id)}, json.dumps(fields).encode()
    )


def _problem(status: int, detail: str, run: HttpRun) -> ASGIApp:
    return problem(status, detail, headers={RUN: id_text(run.id)}, run=id_text(run.id))


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _end_all(*futures: asyncio.Future[Any] | None) -> None:
    left = [future for future in futures if future is not None]
    for future in left:
        future.cancel()
    await asyncio.gather(*left, return_exceptions=True)

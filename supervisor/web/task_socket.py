"""`/ws/tasks/{id}`: a WebSocket whose messages go to the mailbox of a task, and that gets what the task publishes.

Messages are read one at a time, each when the one before is on disk, so that a client waits for a slow task and nothing
piles up. What is sent waits for the client in the same way: see `LiveReader`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any, Final, NamedTuple

from fastapi import APIRouter
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from ...actors.access import AuditEntry, Role
from ...actors.errors import (
    MailboxClosed,
    MailboxFull,
    NotRunning,
    StoreError,
    SupervisorLost,
    TaskNotFound,
    UnderstudyError,
    UnencodableValue,
    ValueTooLarge,
)
from ...actors.ids import id_text
from .close_codes import OF_ENDING, OF_STATUS, CloseCode
from .context import WebContext
from .guard import is_own
from .identity import Identity, identify_watcher
from .live import formats
from .live.reader import Ending, LiveReader
from .problems import Refused
from .tokens import address_of
from .watch_routes import guard_reader, open_reader, watched_id

log = logging.getLogger("understudy")

#: Seconds that a message waits for the supervisor, and for room in a mailbox; and until it is tried again.
PATIENCE: Final = 10.0
FULL_PATIENCE: Final = 30.0
AGAIN: Final = 0.25
#: Messages a second, and those that may come at once.
RATE: Final = 100.0
BURST: Final = 200.0
#: Seconds for which the end of a task is waited for when its mailbox is closed.
END_PATIENCE: Final = 1.0
#: Bytes of the reason in a close frame.
REASON_BYTES: Final = 120


class Closing(NamedTuple):
    """How the server closes the connection."""

    code: CloseCode
    reason: str = ""


def routes(context: WebContext) -> APIRouter:
    """The route, for the root of the web process."""
    router = APIRouter()
    router.routes.append(WebSocketRoute("/ws/tasks/{id}", TaskSocket(context)))
    return router


class TaskSocket:
    """An ASGI application."""

    #: What a token without a signature needs. Messages need the role `run`.
    role: Final = Role.READ

    def __init__(self, context: WebContext) -> None:
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await receive()
        try:
            # Only to a connection that is open can a browser's script be told why it is closed.
            await send({"type": "websocket.accept"})
            try:
                closing = await self._serve(scope, receive, send)
            except OSError:
                raise
            except Exception:
                log.exception("a WebSocket has failed")
                closing = Closing(CloseCode.FAILED)
            if closing is not None:
                reason = closing.reason.encode(errors="replace")[:REASON_BYTES].decode(errors="ignore")
                await send({"type": "websocket.close", "code": int(closing.code), "reason": reason})
        except OSError:
            # The client is gone.
            return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> Closing | None:
        connection = HTTPConnection(scope)
        try:
            id = watched_id(connection)
            identity = await identify_watcher(connection, id)
            origin = connection.headers.get("origin", "")
            host = connection.headers.get("host", "")
            if origin and identity.by != "watch" and not is_own(scope, origin, host):
                raise Refused(403, "a page of another origin needs a signed token")
            if not id:
                raise Refused(404, "no task has this id")
            after = connection.query_params.get("after")
            reader = await open_reader(self._context, identity, id, after, is_stream=False)
        except Refused as refused:
            return Closing(OF_STATUS.get(refused.status, CloseCode.FAILED), refused.message)
        try:
            guard_reader(reader, connection, identity, id, is_stream=False)
            return await _Session(self._context, connection, identity, id, reader, receive, send).run()
        finally:
            self._context.hub.close(reader)


class _Session:
    """One open connection."""

    def __init__(
        self,
        context: WebContext,
        connection: HTTPConnection,
        identity: Identity,
        id: bytes,
        reader: LiveReader,
        receive: Receive,
        send: Send,
    ) -> None:
        self._context = context
        self._connection = connection
        self._identity = identity
        self._id = id_text(id)
        self._reader = reader
        self._receive = receive
        self._send = send
        self._format = formats.public_message if identity.by == "watch" else formats.message
        self._news = asyncio.Event()
        self._is_stopped = asyncio.Event()
        self._noted = False
        self._sender: asyncio.Task[Closing] | None = None
        reader.on_news = self._wake

    def _wake(self) -> None:
        self._news.set()
        if self._reader.ending not in (None, Ending.END):
            self._is_stopped.set()

    async def run(self) -> Closing | None:
        """Until the connection is to be closed; None if the client has closed it."""
        self._sender = asyncio.create_task(self._tell())
        doing: list[asyncio.Task[Any]] = [
            self._sender,
            asyncio.create_task(self._listen()),
            asyncio.create_task(self._is_stopped.wait()),
        ]
        try:
            self._wake()
            await asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED)
            for task in doing[:2]:
                if task.done():
                    closing: Closing | None = task.result()
                    return closing
            assert self._reader.ending is not None
            return _closing(self._reader.ending)
        finally:
            for task in doing:
                task.cancel()
            await asyncio.gather(*doing, return_exceptions=True)

    async def _tell(self) -> Closing:
        """Send what the task tells, until its end."""
        while True:
            self._news.clear()
            batch = self._reader.take()
            if batch is not None:
                for entry in batch:
                    if data := entry.encoded(self._format):
                        await self._send({"type": "websocket.send", "text": data.decode()})
            elif self._reader.ending is not None:
                return _closing(self._reader.ending)
            else:
                await self._news.wait()

    async def _listen(self) -> Closing | None:
        """Put what the client sends into the mailbox."""
        count, allowed, looked = 0, BURST, time.monotonic()
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return None
            now = time.monotonic()
            allowed, looked = min(BURST, allowed + (now - looked) * RATE) - 1, now
            if allowed < 0:
                return Closing(CloseCode.TOO_FAST, f"at most {RATE:g} messages a second")
            if not self._identity.may(Role.RUN):
                return Closing(CloseCode.NOT_ALLOWED, f"{self._identity.name!r} does not allow messages")
            if message.get("text") is None:
                return Closing(CloseCode.BINARY, "a message must be text")
            closing = await self._deliver(message["text"])
            if closing is not None:
                return closing
            count += 1
            await self._send({"type": "websocket.send", "text": json.dumps({"kind": "sent", "count": count})})

    async def _deliver(self, text: str) -> Closing | None:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return Closing(CloseCode.NOT_JSON, "a message must be JSON")
        await self._note()
        deadline = time.monotonic() + FULL_PATIENCE
        while True:
            try:
                await self._context.runtime.send(self._id, value, timeout=PATIENCE)
            except MailboxFull as error:
                if time.monotonic() > deadline:
                    return Closing(CloseCode.MAILBOX_FULL, str(error))
                await asyncio.sleep(AGAIN)
                continue
            except (UnencodableValue, ValueTooLarge) as error:
                return Closing(CloseCode.NOT_JSON, str(error))
            except MailboxClosed as error:
                return await self._after_the_end() or Closing(CloseCode.NO_MESSAGES, str(error))
            except TaskNotFound as error:
                return Closing(CloseCode.NOT_FOUND, str(error))
            except (NotRunning, SupervisorLost, StoreError, TimeoutError) as error:
                return Closing(CloseCode.TRY_LATER, str(error))
            except UnderstudyError as error:
                return Closing(CloseCode.NO_MESSAGES, str(error))
            return None

    async def _after_the_end(self) -> Closing | None:
        """If the task has ended, its end says more than its closed mailbox."""
        assert self._sender is not None
        await asyncio.wait({self._sender}, timeout=END_PATIENCE)
        return self._sender.result() if self._sender.done() else None

    async def _note(self) -> None:
        """Have the audit keep that messages were sent: once for a connection."""
        if not self._noted:
            self._noted = True
            identity = self._identity
            await self._context.audit.record(
                AuditEntry(
                    time.time(),
                    identity.name,
                    identity.token,
                    str(identity.role),
                    f"WEBSOCKET {self._connection.url.path}",
                    "101",
                    address_of(self._connection),
                )
            )


def _closing(ending: Ending) -> Closing:
    return Closing(OF_ENDING[ending], str(ending))

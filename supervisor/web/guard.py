"""Guard: the outermost layer of each app. It refuses what no route should see, and bounds what a request may take."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from typing import Final
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...actors.access import AuditEntry, has_token
from ..web_settings import WebSettings, is_loopback, is_trusted
from . import callers_trace
from .context import WebContext
from .identity import Identity
from .problems import Refused, problem
from .traffic import WEBSOCKET

log = logging.getLogger("understudy")

#: Methods that change nothing.
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Headers of every answer that does not set them itself.
SECURITY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without any, browsers would send "Origin: null" with forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_WILD: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to recognise them


class BodyMemory:
    """The bytes of all bodies that are being read or handled."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Count more bytes. Raises Refused if they are too many."""
        if self.used + size > self._limit:
            raise Refused(503, "too many large requests at once; try again later", {"Retry-After": "1"})
        self.used += size

    def give(self, size: int) -> None:
        """These bytes are no longer needed."""
        self.used -= size


class Guard:
    """Wraps an app. In this order: base path, proxies, host, origin, body."""

    def __init__(self, app: ASGIApp, context: WebContext, bound: str, memory: BodyMemory) -> None:
        """`bound`: the IP address of the listening socket; empty for a Unix socket."""
        self._app = app
        self._context = context
        self._settings = context.settings
        self._hosts = Hosts(context.settings, bound, any_name=context.listener == "http")
        self._memory = memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        request = _Request(self._context, scope, receive, send, self._memory)
        try:
            self._look(scope)
            request.check_length()
        except Refused as refused:
            await request.refuse(refused)
            return
        try:
            await self._app(scope, request.receive, request.send)
        except Refused as refused:
            # Also from within the app, for which the request has just ended.
            await request.refuse(refused)
        finally:
            request.close()

    def _look(self, scope: Scope) -> None:
        scope.setdefault("state", {})["context"] = self._context
        headers = Headers(scope=scope)
        callers_trace.note(headers.get("traceparent"))
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        # What comes in one piece is parsed before its size is known.
        if (
            size + len(scope.get("raw_path") or b"") + len(scope["query_string"])
            > self._settings.header_bytes
        ):
            raise Refused(
                431, f"the first line and the headers may have {self._settings.header_bytes:,} bytes"
            )
        base = self._settings.base
        if base:
            # A proxy may have taken it away.
            if scope["path"] != base and not scope["path"].startswith(base + "/"):
                scope["path"] = base + scope["path"]
            scope["root_path"] = base
        host = headers.get("host", "")
        if len(headers.getlist("host")) > 1:
            raise Refused(400, "more than one header Host")
        client = scope.get("client")
        if is_trusted(client[0] if client else "", self._settings.proxies):
            host = self._believe(scope, headers, host)
        self._hosts.check(host)
        if has_token(scope["path"]) or has_token(unquote(scope["query_string"].decode("latin-1"))):
            raise Refused(
                400,
                "a token must not be in a URL, which logs and histories keep: send it in the header 'Authorization: "
                "Bearer TOKEN', and remove this one",
            )
        if scope["type"] == "websocket" or scope["method"] not in SAFE:
            self._check_origin(scope, headers, host)

    def _believe(self, scope: Scope, headers: Headers, host: str) -> str:
        """Take over what a trusted proxy tells of the client; returns the host that the client asked for."""
        chain = [part.strip() for value in headers.getlist("x-forwarded-for") for part in value.split(",")]
        for address in reversed([part for part in chain if part]):
            scope["client"] = (address, 0)
            if not is_trusted(address, self._settings.proxies):
                break
        proto = headers.get("x-forwarded-proto", "").strip().lower()
        if proto in ("http", "https"):
            secure = proto == "https"
            scope["scheme"] = ("wss" if secure else "ws") if scope["type"] == "websocket" else proto
        forwarded = headers.get("x-forwarded-host", "").strip()
        if not forwarded:
            return host
        changed = MutableHeaders(scope=scope)
        changed["host"] = forwarded
        scope["headers"] = changed.raw
        return forwarded

    def _check_origin(self, scope: Scope, headers: Headers, host: str) -> None:
        """Refuse a change that a page of another origin asks for."""
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin")
        if origin is not None and origin in self._settings.origins and scope["type"] == "websocket":
            return
        if site not in (None, "same-origin", "none"):
            raise Refused(403, "a page of another origin may change nothing here")
        if origin is not None:
            if not is_own(scope, origin, host):
                raise Refused(403, f"the origin {origin!r:.200} may change nothing here")
        elif site is None and "cookie" in headers and "authorization" not in headers:
            # A browser says where the request comes from. So this one is none, or a very old one.
            raise Refused(403, "a change with a cookie needs the header Origin")


def is_own(scope: Scope, origin: str, host: str) -> bool:
    """Whether this origin is that of the server, as the client has called it."""
    scheme = "https" if scope.get("scheme") in ("https", "wss") else "http"
    return origin.lower() == f"{scheme}://{host.lower()}"


class Hosts:
    """The names in the Host header that are accepted, which a page that rebinds its name to this address lacks."""

    def __init__(self, settings: WebSettings, bound: str, *, any_name: bool) -> None:
        """`any_name`: accept all if no names are set. For triggers, which check signatures and know no cookies."""
        names = {name.lower().removeprefix("[").removesuffix("]") for name in settings.hosts}
        self._any = any_name and not names
        #: On a wildcard address all IP addresses are fine: only names can be rebound.
        self._addresses = bound in _WILD
        local = not bound or bound in _WILD or is_loopback(bound)
        self._names = names | ({bound} - _WILD) | (_LOCAL_NAMES if local else set())

    def check(self, host: str) -> None:
        """Raise Refused for a name that is not known."""
        name = _name_in(host)
        if name is None or not (self._any or name in self._names or (self._addresses and _is_address(name))):
            raise Refused(
                400,
                f"the host {host!r:.200} is not known here; to allow it: --web-host {name or 'NAME'!s:.200}",
            )


def _name_in(host: str) -> str | None:
    """The name in a Host header, without its port; None if it is malformed."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port.removeprefix(":")
    else:
        name, _, port = host.partition(":")
    if not name or (port and not (port.isascii() and port.isdigit())) or not name.isascii():
        return None
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Request:
    """One request: bounds its body, adds headers to its answer, and has changes kept in the audit."""

    def __init__(
        self, context: WebContext, scope: Scope, receive: Receive, send: Send, memory: BodyMemory
    ) -> None:
        self._context = context
        self._scope = scope
        self._receive = receive
        self._send = send
        self._memory = memory
        self._size = 0
        self._deadline: float | None = None
        self._complete = scope["type"] != "http"
        self._started = False
        self._refused: Refused | None = None
        self._began = time.monotonic()

    @property
    def _limit(self) -> int:
        return self._context.settings.body_bytes

    def check_length(self) -> None:
        """Refuse a body that says that it is too large."""
        length = Headers(scope=self._scope).get("content-length", "0")
        if not self._complete and length.isdigit() and int(length) > self._limit:
            raise self._too_large()

    def _too_large(self) -> Refused:
        return Refused(413, f"the body may have {self._limit:,} bytes")

    async def receive(self) -> Message:
        """See ASGI. Raises Refused for a body that is too large or too slow."""
        if self._complete:
            return await self._receive()
        loop = asyncio.get_running_loop()
        if self._deadline is None:
            self._deadline = loop.time() + self._context.settings.body_timeout
        try:
            try:
                async with asyncio.timeout_at(self._deadline):
                    message = await self._receive()
            except TimeoutError:
                raise Refused(
                    408, f"the body did not come within {self._context.settings.body_timeout:g} s"
                ) from None
            body = message.get("body", b"")
            if self._size + len(body) > self._limit:
                raise self._too_large()
            self._memory.take(len(body))
            self._size += len(body)
        except Refused as refused:
            # The app may make something else of the error.
            self._refused = refused
            raise
        self._complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """See ASGI."""
        if self._refused is not None and not self._started:
            await self.refuse(self._refused)
            return
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            if self._started and self._refused is not None:
                return
            self._started = True
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            for name, value in SECURITY.items():
                headers.setdefault(name, value)
            message["headers"] = headers.raw
            await self._note(message["status"])
            self._count(message["status"])
        elif self._refused is not None and message["type"] == "http.response.body":
            # That of the answer which another one has replaced.
            return
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer with the refusal, if there was no answer yet. The connection ends with it: its body is unread."""
        if self._started:
            return
        self._started = True
        self._refused = refused
        if self._scope["type"] == "websocket":
            await self._send({"type": "websocket.close", "code": 1008, "reason": refused.message[:100]})
            return
        response = problem(refused.status, refused.message, headers={**SECURITY, **refused.headers})
        response.headers["Connection"] = "close"
        self._count(refused.status)
        await response(self._scope, self._receive, self._send)

    def close(self) -> None:
        """The request is over."""
        self._memory.give(self._size)
        self._size = 0

    def _count(self, status: int) -> None:
        method = self._scope.get("method", WEBSOCKET)
        self._context.traffic.note(method, status, time.monotonic() - self._began)

    async def _note(self, status: int) -> None:
        """Have a change kept, before its answer says that it was made."""
        identity = self._scope["state"].get("identity")
        if not isinstance(identity, Identity) or self._scope.get("method") in SAFE:
            return
        client = self._scope.get("client")
        await self._context.audit.record(
            AuditEntry(
                time.time(),
                identity.name,
                identity.token,
                str(identity.role),
                f"{self._scope.get('method', 'WEBSOCKET')} {self._scope['path']}",
                str(status),
                client[0] if client else "",
            )
        )

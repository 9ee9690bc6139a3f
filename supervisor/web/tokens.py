"""Tokens: finds out who a request is from, by its token or its session."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgpack
from starlette.requests import HTTPConnection

from ...actors.access import TokenInfo, WatchGrant, digest, read_watch, sign, token_id
from ...storage.reader import Reader
from ..web_settings import WebSettings
from .failed_logins import FailedLogins
from .problems import Refused

if TYPE_CHECKING:
    from .identity import Identity

#: Seconds that a token that was read is not read again, as long as the store has not changed.
FRESH: Final = 1.0
#: Tokens in memory.
MOST_KNOWN: Final = 1_000
_PURPOSE: Final = "session"
_LONGEST_COOKIE: Final = 512
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class Tokens:
    """Reads tokens from the store. A token that was removed is refused from the next request on, and its sessions."""

    def __init__(self, reader: Reader, settings: WebSettings, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._known: dict[str, tuple[float, int, tuple[TokenInfo, bytes] | None]] = {}
        self._key = b""
        self._cookie = ""
        self.failures = FailedLogins()

    # --- requests ---

    def identify(self, connection: HTTPConnection) -> Identity:
        """Who makes the request. Raises Refused."""
        from .identity import Identity

        given = connection.headers.get("authorization")
        if given is not None:
            kind, _, text = given.partition(" ")
            if kind.lower() != "bearer":
                raise Refused(401, "the header Authorization must be 'Bearer TOKEN'", _CHALLENGE)
            token = self.check(text.strip(), address_of(connection))
            return Identity(token.name, token.role, token.tasks, token.id, "token", token.expires)
        session = connection.cookies.get(self.cookie)
        session_of = None if session is None else self.session_token(session)
        if session_of is None:
            raise Refused(
                401,
                "this needs a token, in the header 'Authorization: Bearer TOKEN', or a session of the page to log in",
                _CHALLENGE,
            )
        return Identity(
            session_of.name, session_of.role, session_of.tasks, session_of.id, "session", session_of.expires
        )

    def check(self, text: str, address: str) -> TokenInfo:
        """The token of this text. Raises Refused, also after too many wrong ones from an address."""
        id = token_id(text)
        self.failures.check(address, id or "")
        found = None if id is None else self._find(id)
        if found is None or not hmac.compare_digest(digest(text), found[1]):
            self.failures.note(address, id or "")
            raise Refused(401, "this token is not known, or was removed", _CHALLENGE)
        if found[0].is_expired(self._clock()):
            raise Refused(401, "this token has expired", _CHALLENGE)
        return found[0]

    def watch_grant(self, connection: HTTPConnection, text: str) -> WatchGrant:
        """What a signed token of the query allows. Raises Refused."""
        grant = read_watch(self.key, text, self._clock())
        if grant is None:
            raise Refused(401, "this token is not valid, or has expired", _CHALLENGE)
        return grant

    # --- sessions ---

    @property
    def cookie(self) -> str:
        """The name of the session's cookie. Browsers send a cookie to all ports, so each home has a name of its own."""
        if not self._cookie:
            self._cookie = f"understudy_{sign(self.key, 'cookie', b'').hex()[:12]}"
        return self._cookie

    @property
    def key(self) -> bytes:
        """The key of the home. The supervisor makes it before it starts the web process."""
        if not self._key:
            self._key = self._reader.access_key() or b""
            if not self._key:
                raise Refused(503, "the home has no key yet; try again when a supervisor serves it")
        return self._key

    def new_session(self, token: TokenInfo) -> tuple[str, int]:
        """The cookie of a new session, and the seconds for which it is valid."""
        now = self._clock()
        until = min(now + self._settings.session, token.expires or float("inf"))
        body = msgpack.packb([token.id, int(until), os.urandom(8)])
        return f"{_text(body)}.{_text(sign(self.key, _PURPOSE, body))}", max(0, int(until - now))

    def session_token(self, cookie: str) -> TokenInfo | None:
        """The token that a session began with; None if the session is over or its token was removed."""
        if len(cookie) > _LONGEST_COOKIE:
            return None
        packed, _, mac = cookie.partition(".")
        try:
            body, found = _bytes(packed), _bytes(mac)
        except (ValueError, binascii.Error):
            return None
        if not hmac.compare_digest(sign(self.key, _PURPOSE, body), found):
            return None
        id, until, _ = msgpack.unpackb(body)
        token = self._find(id)
        now = self._clock()
        return None if token is None or now >= until or token[0].is_expired(now) else token[0]

    # --- the store ---

    def _find(self, id: str) -> tuple[TokenInfo, bytes] | None:
        now, newest = time.monotonic(), self._reader.newest()
        known = self._known.get(id)
        if known is not None and known[1] == newest and now - known[0] < FRESH:
            return known[2]
        found = self._reader.token(id)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[id] = (now, newest, found)
        return found


def address_of(connection: HTTPConnection) -> str:
    """The address of the client; that which a trusted proxy tells."""
    return connection.client.host if connection.client is not None else ""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)

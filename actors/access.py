"""Access over HTTP: the roles of tokens, tokens and the audit as data, and signed tokens for one task. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final

import msgpack

from .checks import check_choice, check_seconds
from .errors import InvalidOption

#: What tokens begin with, so that programs that look for published secrets can find them.
TOKEN: Final = "ust"  # noqa: S105 - what all of them begin with
WATCH: Final = "usw"
#: Characters of a token's name, of a pattern, and how many patterns a token may have.
MOST_NAME: Final = 100
MOST_GLOB: Final = 200
MOST_GLOBS: Final = 100
#: The longest token that is looked at.
MOST_TOKEN: Final = 512
_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32
#: Seconds of the longest life of a signed token.
MOST_WATCH: Final = 30 * 86_400


class Role(StrEnum):
    """What a token may do. Each role may do what those before it may."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do what the other one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A token as it is stored. Its secret is not. Times are seconds since the epoch."""

    id: str
    """Its public part."""
    name: str
    role: Role
    tasks: tuple[str, ...]
    """Patterns of the names of tasks that it is for."""
    created: float
    expires: float | None
    """None: it does not expire."""

    def is_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return {**asdict(self), "role": str(self.role), "tasks": list(self.tasks)}


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Something that was done, or refused, through the web process or with tokens."""

    time: float
    """Seconds since the epoch."""
    who: str
    """The name of the token, or who else it was."""
    token: str
    """The id of the token; empty without one."""
    role: str
    action: str
    """What was done: an HTTP method and path, or the name of a call."""
    outcome: str
    """An HTTP status, or "ok"."""
    address: str
    """Of the client; empty for one on this machine that did not come over HTTP."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for `--json` and the like."""
        return asdict(self)


def fits(globs: Sequence[str], task: str) -> bool:
    """Whether the name of a task fits one of these patterns."""
    return any(glob == "*" or fnmatchcase(task, glob) for glob in globs)


def check_grant(
    name: object, role: object, tasks: object, expires: object
) -> tuple[str, Role, tuple[str, ...], float | None]:
    """The checked fields of a new token; `expires` is a number of seconds. Raises InvalidOption."""
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_NAME or not name.isprintable():
        raise InvalidOption(
            f"the name of a token must be printable text of 1 to {MOST_NAME} characters: {name!r:.120}"
        )
    check_choice("role", role, [str(each) for each in Role])
    globs = (tasks,) if isinstance(tasks, str) else tasks
    if (
        not isinstance(globs, list | tuple)
        or not 1 <= len(globs) <= MOST_GLOBS
        or not all(isinstance(glob, str) and 1 <= len(glob) <= MOST_GLOB for glob in globs)
    ):
        raise InvalidOption(
            f"tasks must be a pattern or up to {MOST_GLOBS} patterns of task names: {tasks!r:.120}"
        )
    life = check_seconds("expires", expires, positive=True, optional=True)
    return name, Role(str(role)), tuple(globs), life


def new_token() -> tuple[str, str, bytes]:
    """A new token: its public id, its text, and the hash of its secret."""
    id = secrets.token_hex(_ID_BYTES)
    text = f"{TOKEN}_{id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return id, text, digest(text)


def digest(token: str) -> bytes:
    """The hash that is stored of a token. Its secret is random and long, so one round is enough."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def token_id(token: str) -> str | None:
    """The public id in a token; None for a text that is no token."""
    if len(token) > MOST_TOKEN:
        return None
    kind, _, rest = token.partition("_")
    id, _, secret = rest.partition("_")
    if kind != TOKEN or len(id) != 2 * _ID_BYTES or not secret or not set(id) <= set("0123456789abcdef"):
        return None
    return id


_TOKEN: Final = re.compile(rf"{TOKEN}_[0-9a-f]{{{2 * _ID_BYTES}}}_")


def has_token(text: str) -> bool:
    """Whether there is a token in the text, as far as its form tells."""
    return _TOKEN.search(text) is not None


# --- signed tokens for one task or stream ---


@dataclass(frozen=True, slots=True)
class WatchGrant:
    """What a signed token allows: to watch one task or stream, and perhaps to send to that task."""

    id: bytes
    is_stream: bool
    send: bool
    expires: int
    """Seconds since the epoch."""


def check_life(expires: object) -> float:
    """The seconds that a signed token is valid. Raises InvalidOption."""
    return float(check_seconds("expires", expires, MOST_WATCH, positive=True))


def sign_watch(key: bytes, grant: WatchGrant) -> str:
    """The token for a grant; `key` is that of the home."""
    body = msgpack.packb([grant.id, grant.is_stream, grant.send, grant.expires])
    return f"{WATCH}_{_text(body)}.{_text(sign(key, WATCH, body))}"


def read_watch(key: bytes, token: str, now: float) -> WatchGrant | None:
    """The grant of a token; None if it is not signed with this key, or its time is over."""
    if len(token) > MOST_TOKEN or not token.startswith(f"{WATCH}_"):
        return None
    packed, _, mac = token.removeprefix(f"{WATCH}_").partition(".")
    try:
        body, found = _bytes(packed), _bytes(mac)
    except (ValueError, binascii.Error):
        return None
    if not hmac.compare_digest(sign(key, WATCH, body), found):
        return None
    id, is_stream, send, expires = msgpack.unpackb(body)
    return None if now >= expires else WatchGrant(id, is_stream, send, expires)


def sign(key: bytes, purpose: str, body: bytes) -> bytes:
    """The signature of some bytes for one purpose. That for another purpose differs."""
    return hmac.digest(key, purpose.encode() + b"\0" + body, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not the only way to write these bytes")
    return data

"""The options of `connect`, their defaults and limits, and the backoff between reconnects."""

from __future__ import annotations

import random
import ssl as tls
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit, urlunsplit

from ..checks import check_flag, check_names, check_seconds, check_whole, is_number
from ..errors import InvalidOption

#: Seconds that the opening and the closing of a connection may take.
OPEN_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 5.0
#: Seconds between two pings, and seconds of silence after a ping until the peer counts as gone.
PING_INTERVAL: Final = 20.0
PING_TIMEOUT: Final = 20.0
#: Bytes of the largest incoming message.
MAX_SIZE: Final = 1 << 20
#: Messages, and bytes of messages, that may wait for the task before reading from the connection stops.
MAX_QUEUE: Final = 1_000
MAX_QUEUE_BYTES: Final = 4 << 20
#: Unsent bytes from which on `send` waits.
WRITE_LIMIT: Final = 1 << 18
#: The most bytes of a close reason (RFC 6455, section 5.5).
REASON_LIMIT: Final = 123
#: Close codes after which reconnecting would end the same way: the peer was finished or refused.
FINAL: Final = (1000, 1002, 1003, 1007, 1008, 1009, 1010)
#: HTTP status codes of a refused handshake after which another try is worthwhile.
PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

#: Close codes that may be sent (RFC 6455, section 7.4, and IANA's registry).
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})


@dataclass(frozen=True, slots=True)
class Backoff:
    """When a lost connection is opened again. Seconds are floats.

    The wait before try n (the first is 0) is `delay·factorⁿ`, at most `max_delay`. Jitter multiplies it by a
    random number between `1 - jitter` and 1. n starts at 0 again after a connection that lasted at least as
    long as the wait before it.
    """

    delay: float = 0.5
    max_delay: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5
    """0 for no jitter, 1 for a wait anywhere between zero and the full time."""
    attempts: int | None = None
    """Tries in a row after which the connection is given up; None for no limit."""
    final: Collection[int] = FINAL
    """Close codes of the peer after which the connection is not opened again."""
    marker: bool = True
    """Whether `receive` returns a Reconnected where messages may be missing."""

    def __post_init__(self) -> None:
        for name in ("delay", "max_delay"):
            object.__setattr__(self, name, check_seconds(f"backoff {name}", getattr(self, name)))
        if not is_number(self.factor) or not 1 <= self.factor <= 1_000:
            raise InvalidOption(f"backoff factor must be a number from 1 to 1,000: {self.factor!r:.80}")
        if not is_number(self.jitter) or not 0 <= self.jitter <= 1:
            raise InvalidOption(f"backoff jitter must be a number from 0 to 1: {self.jitter!r:.80}")
        if self.attempts is not None:
            check_whole("backoff attempts", self.attempts, 1)
        if isinstance(self.final, str | bytes) or not all(isinstance(code, int) for code in self.final):
            raise InvalidOption(f"backoff final must be close codes: {self.final!r:.80}")
        object.__setattr__(self, "final", frozenset(self.final))
        check_flag("backoff marker", self.marker)

    def wait(self, n: int, rng: random.Random | None = None) -> float:
        """Seconds before try number n, from 0. `rng` gives the jitter (default: the `random` module)."""
        # After 64 steps any delay is at its cap, and a larger power could overflow.
        longest = min(self.delay * float(self.factor) ** min(n, 64), self.max_delay)
        return longest * (1 - self.jitter * (rng or random).random())


class ConnectKwargs(TypedDict, total=False):
    """The options of `connect`; see `ConnectOptions`."""

    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None
    subprotocols: Iterable[str] | None
    open_timeout: float | None
    close_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    max_size: int
    max_queue: int
    max_queue_bytes: int
    write_limit: int
    compression: bool
    json: bool
    ssl: tls.SSLContext | None
    proxy: str | bool | None
    reconnect: Backoff | None
    on_connect: Callable[[Any], Any] | None


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """The options of `connect`. Seconds are floats, sizes are bytes."""

    url: str
    """`ws://…` or `wss://…`"""
    headers: Any = None
    """More headers of the handshake: a mapping, or pairs if a name occurs more than once."""
    subprotocols: Any = None
    """Subprotocols to offer, best first."""
    open_timeout: float | None = OPEN_TIMEOUT
    """Seconds to connect, including TLS and the handshake; None for no limit."""
    close_timeout: float = CLOSE_TIMEOUT
    """Seconds that the peer has to answer a close."""
    ping_interval: float | None = PING_INTERVAL
    """Seconds between two pings; None for no pings."""
    ping_timeout: float | None = PING_TIMEOUT
    """Seconds of silence after a ping until the connection counts as lost; None for never."""
    max_size: int = MAX_SIZE
    """Bytes of the largest message that is accepted."""
    max_queue: int = MAX_QUEUE
    """Messages that may wait for the task before reading stops."""
    max_queue_bytes: int = MAX_QUEUE_BYTES
    """Bytes of messages that may wait for the task before reading stops."""
    write_limit: int = WRITE_LIMIT
    """Bytes that may be unsent before `send` waits."""
    compression: bool = False
    """Whether to offer permessage-deflate, which takes memory."""
    json: bool = True
    """Whether a text that is a JSON object or array is parsed."""
    ssl: tls.SSLContext | None = None
    """The TLS context of `wss://`; None for the system's default."""
    proxy: str | bool | None = True
    """The proxy's address; True for the environment's proxy, None or False for no proxy."""
    reconnect: Backoff | None = None
    """When to open a lost connection again; None for never."""
    on_connect: Callable[[Any], Any] | None = None
    """Called with the connection after each opening, including the first."""

    def __post_init__(self) -> None:
        change = object.__setattr__
        _check_url(self.url, self.ssl)
        change(self, "headers", _pairs(self.headers))
        change(self, "subprotocols", _tokens(self.subprotocols))
        for name in ("open_timeout", "close_timeout", "ping_interval", "ping_timeout"):
            free = name != "close_timeout"
            change(self, name, check_seconds(name, getattr(self, name), positive=free, optional=free))
        for name in ("max_size", "max_queue", "max_queue_bytes", "write_limit"):
            check_whole(name, getattr(self, name), 1)
        for name in ("compression", "json"):
            check_flag(name, getattr(self, name))
        if self.ssl is not None and not isinstance(self.ssl, tls.SSLContext):
            raise InvalidOption(f"ssl must be an ssl.SSLContext or None: {self.ssl!r:.80}")
        if not isinstance(self.proxy, str | bool | None):
            raise InvalidOption(f"proxy must be an address, True or None: {self.proxy!r:.80}")
        if self.reconnect is not None and not isinstance(self.reconnect, Backoff):
            raise InvalidOption(f"reconnect must be a Backoff or None: {self.reconnect!r:.80}")
        if self.on_connect is not None and not callable(self.on_connect):
            raise InvalidOption(f"on_connect must be callable: {self.on_connect!r:.80}")

    @classmethod
    def of(cls, url: str, wishes: Mapping[str, Any]) -> ConnectOptions:
        """Check the options; InvalidOption if one is unknown or out of its range."""
        check_names(wishes, [field.name for field in fields(cls) if field.name != "url"], "connect")
        return cls(url, **wishes)

    @property
    def place(self) -> str:
        """The URL for messages, without user name, password and query, which may be secret."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def check_close(code: object, reason: object) -> tuple[int, str]:
    """The code and reason, if they may be sent; InvalidOption otherwise."""
    if not isinstance(code, int) or not (code in _SENDABLE or 3000 <= code <= 4999):
        raise InvalidOption(f"a close code is 1000 to 1003, 1007 to 1014 or 3000 to 4999: {code!r:.80}")
    if not isinstance(reason, str) or len(reason.encode(errors="replace")) > REASON_LIMIT:
        raise InvalidOption(f"a close reason is text of at most {REASON_LIMIT} bytes: {reason!r:.80}")
    return int(code), reason


def _check_url(url: object, context: object) -> None:
    if not isinstance(url, str):
        raise InvalidOption(f"a WebSocket URL is text: {url!r:.80}")
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("ws", "wss") and parts.hostname and not parts.fragment and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise InvalidOption(f"not a URL of the form ws://host[:port]/path or wss://…: {url!r:.200}")
    if context is not None and not url.startswith("wss:"):
        raise InvalidOption(f"ssl= needs a wss:// URL, not {url!r:.200}")


def _pairs(headers: Any) -> tuple[tuple[str, str], ...]:
    try:
        items = headers.items() if isinstance(headers, Mapping) else headers or ()
        pairs = tuple((name, value) for name, value in items)
    except (TypeError, ValueError):
        raise InvalidOption(f"headers must be a mapping or pairs of texts: {headers!r:.80}") from None
    for name, value in pairs:
        # The message never shows the value, which may be secret.
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidOption(f"a header is a pair of texts: {name!r:.80}")
        if not name or not name.isascii() or set(name) & set(" \t\r\n:\0") or set(value) & set("\r\n\0"):
            raise InvalidOption(f"not a header of one line: {name!r:.80}")
    return pairs


def _tokens(subprotocols: Any) -> tuple[str, ...] | None:
    if subprotocols is None:
        return None
    tokens = () if isinstance(subprotocols, str) else tuple(subprotocols)
    if not tokens or not all(isinstance(token, str) and _is_token(token) for token in tokens):
        raise InvalidOption(f"subprotocols must be a list of names: {subprotocols!r:.80}")
    return tokens


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and not set(text) & set(' ()<>@,;:\\"/[]?={}')

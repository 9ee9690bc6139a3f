"""The settings of the web process, with their defaults and limits, and where it listens."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

from ..actors.checks import check_flag, check_names, check_seconds, check_whole
from ..actors.errors import InvalidOption

MIB: Final = 1024 * 1024

#: What the extra `[web]` installs, as it is imported.
NEEDED: Final = (
    "fastapi",
    "uvicorn",
    "jinja2",
    "sse_starlette",
    "prometheus_client",
    "standardwebhooks",
    "python_multipart",
)
#: An address that stands for a socket that the service manager has opened.
SYSTEMD: Final = "systemd"
_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\Z")
_BASE: Final = re.compile(r"(/[A-Za-z0-9._~-]+)+\Z")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The settings of the web process. Seconds are floats, sizes are bytes."""

    web: str | None = None
    """Address of the dashboard, the API and the app's triggers: "host:port", or "systemd" or "systemd:NAME"."""
    http: str | None = None
    """Address of the app's triggers alone."""
    hosts: tuple[str, ...] = ()
    """Names in the Host header that are accepted, in addition to those of the address itself."""
    origins: tuple[str, ...] = ()
    """Origins of other pages that may watch with a signed token, such as "https://app.example.com"."""
    base: str = ""
    """The path below which a proxy shows the web process, such as "/jobs"."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose X-Forwarded headers are believed."""
    insecure: bool = False
    """Whether everybody who reaches `web` is an admin. On loopback only."""
    connections: int = 2_048
    """Connections that may be open at once; the one that has been idle longest is closed for a new one."""
    header_bytes: int = 16 * 1024
    """Bytes of one request's first line and headers."""
    header_timeout: float = 10.0
    """Seconds until a connection has sent the headers of its first request, or of one that it has begun."""
    idle_timeout: float = 30.0
    """Seconds that a connection may stay open between two requests."""
    body_bytes: int = 16 * MIB
    """Bytes of one request's body."""
    body_memory: int = 128 * MIB
    """Bytes of the bodies of all requests at once."""
    body_timeout: float = 30.0
    """Seconds that the body of a request may take."""
    stall_timeout: float = 30.0
    """Seconds after which a client that reads nothing of an answer is disconnected."""
    session: float = 12 * 3600.0
    """Seconds after which a browser has to log in again."""

    def __post_init__(self) -> None:
        for name in ("web", "http"):
            if getattr(self, name) is not None:
                Address.parse(getattr(self, name), name)
        for name, check in (("hosts", _is_host), ("origins", _is_origin), ("proxies", _is_network)):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Iterable):
                raise InvalidOption(f"{name} must be a list of texts: {given!r:.120}")
            texts = tuple(given)
            for text in texts:
                if not isinstance(text, str) or not check(text):
                    raise InvalidOption(f"{name}: not {_WANTED[name]}: {text!r:.120}")
            object.__setattr__(self, name, texts)
        if self.base and not (isinstance(self.base, str) and _BASE.match(self.base)):
            raise InvalidOption(
                f"base must be a path such as '/jobs', without a slash at its end: {self.base!r:.120}"
            )
        check_flag("insecure", self.insecure)
        for name, (least, most) in {
            "connections": (8, 1_000_000),
            "header_bytes": (1024, MIB),
            "body_bytes": (1024, 1 << 31),
            "body_memory": (1024, 1 << 40),
        }.items():
            check_whole(name, getattr(self, name), least, most)
        for name in ("header_timeout", "idle_timeout", "body_timeout", "stall_timeout", "session"):
            seconds = check_seconds(name, getattr(self, name), 10_000_000.0, positive=True)
            object.__setattr__(self, name, seconds)

    @property
    def most_streams(self) -> int:
        """How many streams may be open at once: the rest of the connections is for other requests."""
        return self.connections * 9 // 10

    @property
    def asked(self) -> bool:
        """Whether there is to be a web process."""
        return self.web is not None or self.http is not None

    def pack(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def of(cls, changes: dict[str, Any]) -> WebSettings:
        """Settings with some fields given; None means the default. Raises InvalidOption."""
        check_names(changes, [each.name for each in fields(cls)], "the web process")
        return cls(**{name: value for name, value in changes.items() if value is not None})

    def check_needs(self) -> None:
        """Raise InvalidOption if there is to be a web process, and a package that it needs is absent."""
        missing = [name for name in NEEDED if find_spec(name) is None] if self.asked else []
        if missing:
            raise InvalidOption(
                f"the web process needs packages that are not installed ({', '.join(missing)}): "
                "pip install 'understudy[web]'"
            )


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str = ""
    port: int = 0
    inherited: str | None = None
    """The name of a socket that the service manager has opened."""
    given: str = field(default="", compare=False)
    """As it was written."""

    @classmethod
    def parse(cls, text: object, name: str) -> Address:
        """The address in an option of this name. Raises InvalidOption."""
        if not isinstance(text, str):
            raise InvalidOption(f"{name} must be an address such as '127.0.0.1:8787': {text!r:.80}")
        if text == SYSTEMD or text.startswith(SYSTEMD + ":"):
            return cls(inherited=text.partition(":")[2] or name, given=text)
        host, colon, port = text.rpartition(":")
        if not colon:
            host = "127.0.0.1"
        host = host.removeprefix("[").removesuffix("]")
        if (
            not (port.isascii() and port.isdigit() and int(port) < 65536)
            or not host
            or (":" in host) != ("[" in text)
        ):
            raise InvalidOption(
                f"{name} must be an address such as '127.0.0.1:8787' or '[::1]:8787', or 'systemd': {text!r:.80}"
            )
        return cls(host, int(port), given=text)


def is_loopback(host: str) -> bool:
    """Whether an IP address is of this machine alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_trusted(peer: str, proxies: Sequence[str]) -> bool:
    """Whether a peer is one of these proxies. "unix" stands for all who connect to a Unix socket."""
    if not peer:
        return "unix" in proxies
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(
        proxy != "unix" and (mapped or address) in ipaddress.ip_network(proxy, strict=False)
        for proxy in proxies
    )


_WANTED: Final = {
    "hosts": "the name of a host, without a port",
    "origins": "an origin such as 'https://app.example.com'",
    "proxies": "an IP address, a network such as 10.0.0.0/8, or 'unix'",
}


def _is_host(text: str) -> bool:
    if _NAME.match(text):
        return len(text) <= 253
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and text == f"{parts.scheme}://{parts.netloc}"
            and "@" not in parts.netloc
            and parts.port != 0
        )
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    if text == "unix":
        return True
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True

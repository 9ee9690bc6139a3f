"""Listening sockets: opened here, or handed down by a service manager as systemd does it (sd_listen_fds(3))."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

from ...actors.errors import AddressUnusable, InvalidOption

#: The first descriptor that systemd hands down.
FIRST: Final = 3
#: Connections that may wait for accept; the kernel caps this at net.core.somaxconn.
BACKLOG: Final = 4096
#: Seconds that an address may be held by the web process of a supervisor that has just died, which is about to end.
FREE_WITHIN: Final = 5.0
LOOK_EVERY: Final = 0.02
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def handed_down(environ: MutableMapping[str, str] = os.environ) -> list[tuple[str, socket.socket]]:
    """The sockets that the service manager has opened for this process, with their names.

    Removes the variables, so that no task takes them for its own.
    """
    pid, count, names = (environ.pop(name, "") for name in _VARIABLES)
    if pid != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return []
    named = names.split(":") if names else []
    found = []
    for number in range(int(count)):
        try:
            sock = socket.socket(fileno=FIRST + number)
        except OSError as error:
            raise InvalidOption(
                f"LISTEN_FDS names descriptor {FIRST + number}, which is no socket: {error}"
            ) from error
        sock.set_inheritable(False)
        found.append((named[number] if number < len(named) else "", sock))
    return found


def take(handed: list[tuple[str, socket.socket]], name: str) -> socket.socket:
    """The socket of this name, or the only one that is left; it is removed from the list. Raises InvalidOption."""
    fitting = [pair for pair in handed if pair[0] == name] or (handed if len(handed) == 1 else [])
    if not fitting:
        there = ", ".join(repr(pair[0]) for pair in handed) or "none"
        raise InvalidOption(
            f"the service manager has handed down no socket named {name!r} (there: {there}); see FileDescriptorName= "
            "in systemd.socket(5)"
        )
    pair = fitting[0]
    handed.remove(pair)
    return _listening(pair[1])


def take_bound(handed: list[tuple[str, socket.socket]], host: str, port: int) -> socket.socket | None:
    """The socket that is bound to this address, if one was handed down."""
    for pair in handed:
        sock = pair[1]
        if (
            sock.family in (socket.AF_INET, socket.AF_INET6)
            and port
            and sock.getsockname()[:2] == (host, port)
        ):
            handed.remove(pair)
            return _listening(sock)
    return None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on this address; port 0 takes a free one. Raises AddressUnusable."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise AddressUnusable(f"cannot listen on {address}: {error}", address) from error
    family, kind, protocol, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    sock = socket.socket(family, kind, protocol)
    given_up = time.monotonic() + FREE_WITHIN
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        while True:
            try:
                sock.bind(where)
                return _listening(sock)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not port or time.monotonic() > given_up:
                    raise
                time.sleep(LOOK_EVERY)
    except OSError as error:
        sock.close()
        raise AddressUnusable(
            f"cannot listen on {address}: {error.strerror}; choose another address, or port 0 for a free one",
            address,
        ) from error


def _listening(sock: socket.socket) -> socket.socket:
    if sock.type != socket.SOCK_STREAM:
        raise InvalidOption("a socket that was handed down is no stream socket: ListenStream= makes one")
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def url_of(sock: socket.socket, base: str = "") -> str:
    """The URL of a listening socket, without a slash at its end."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where to look, not where to listen
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{base}"

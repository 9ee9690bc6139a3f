"""A reader of server-sent events, as a browser is one: it keeps the id of the last event, and comes back with it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from web_client import PLAIN


@dataclass(frozen=True)
class Sent:
    """An event."""

    id: str
    event: str
    data: Any


class EventSource:
    """Follows one address. `last` is the id of the last event that was read."""

    def __init__(self, url: str, token: str | None = None, timeout: float = 30) -> None:
        self.url = url
        self.last = ""
        self.headers: dict[str, str] = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.status = 0
        self._timeout = timeout

    def once(self) -> Iterator[Sent]:
        """The events of one connection. Sets `status` first. What is cut off is left out."""
        headers = {**self.headers, "Accept": "text/event-stream"}
        if self.last:
            headers["Last-Event-ID"] = self.last
        with httpx.stream("GET", self.url, headers=headers, timeout=self._timeout, verify=PLAIN) as answer:
            self.status = answer.status_code
            text = ""
            try:
                for part in answer.iter_text():
                    text += part
                    *whole, text = text.split("\n\n")
                    for each in filter(None, map(parsed, whole)):
                        self.last = each.id
                        yield each
            except httpx.TransportError:
                # The process has died; the connection with it.
                return

    def ever(self) -> Iterator[Sent]:
        """The events of connection after connection, until the server says that there is no more."""
        deadline = time.monotonic() + self._timeout
        while True:
            self.status = 0
            try:
                yield from self.once()
            except httpx.TransportError:
                assert time.monotonic() < deadline, "there is no server"
            assert self.status in (0, 200, 204, 503), self.status
            if self.status == 204:
                return
            if self.status == 200:
                deadline = time.monotonic() + self._timeout
            time.sleep(0.02)  # as a browser waits before it comes back


def parsed(text: str) -> Sent | None:
    """One event; None for a comment or the like."""
    fields = dict(line.split(": ", 1) for line in text.split("\n") if ": " in line)
    return Sent(fields["id"], fields["event"], json.loads(fields["data"])) if "data" in fields else None


def bare(url: str, path: str, token: str, *, version: str = "1.1", receives: int = 0) -> socket.socket:
    """A connection that has asked for a stream, and has read nothing. `receives`: bytes that its kernel takes."""
    parts = urlsplit(url)
    sock = socket.socket()
    if receives:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    sock.settimeout(20)
    sock.connect((parts.hostname, parts.port))
    sock.sendall(
        f"GET {path} HTTP/{version}\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    return sock

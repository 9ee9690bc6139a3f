"""A runtime with a web process, and HTTP calls to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from understudy import Runtime
from waiting import until

#: Of calls without TLS: otherwise each of them loads the certificates of all authorities, for 30 ms.
PLAIN = False


@dataclass
class Web:
    """A served home. `get` and `post` come with the first token, unless headers say otherwise."""

    rt: Runtime
    home: Path
    url: str
    token: str

    def request(self, method: str, path: str, token: str | None = "", **options: Any) -> httpx.Response:
        """`token`: None for none; by default the first one."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers.setdefault("Authorization", f"Bearer {token or self.token}")
        return httpx.request(method, self.url + path, headers=headers, timeout=20, verify=PLAIN, **options)

    def get(self, path: str, token: str | None = "", **options: Any) -> httpx.Response:
        return self.request("GET", path, token, **options)

    def post(self, path: str, token: str | None = "", **options: Any) -> httpx.Response:
        return self.request("POST", path, token, **options)

    def connect(self, timeout: float = 20) -> socket.socket:
        """A bare connection."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout)

    @property
    def pid(self) -> int:
        """That of the web process; 0 while there is none."""
        return int(self.rt.tree()["web"] or 0)


@contextmanager
def web(home: Path, app: str = "kit_tasks", **settings: Any) -> Iterator[Web]:
    """A home with a web process of these settings, and with this app."""
    # Without an app it would be every test module of this process, some of which nobody can import by their names.
    with Runtime(home, app=app, workers=1, web={"web": "127.0.0.1:0", **settings}) as rt:
        url = rt.web_url
        assert url is not None
        # Each process is there before the test looks which ones are.
        until(lambda: rt.tree()["workers"])
        httpx.get(f"{url}/login", timeout=20, verify=PLAIN)
        yield Web(rt, home, url, (home / "web.token").read_text().strip())

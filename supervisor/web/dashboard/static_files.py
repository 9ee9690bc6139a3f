"""The files of the pages: scripts, styles and pictures, compressed once."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from .render import STATIC

TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""Media types by the end of a name. Other files are not served."""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    kind: str
    data: bytes
    packed: bytes
    tag: str


@lru_cache(maxsize=1)
def files() -> dict[str, StaticFile]:
    """All of them, by their path."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in TYPES:
            data = path.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:24]}"'
            packed = gzip.compress(data, 9, mtime=0)
            found[path.relative_to(STATIC).as_posix()] = StaticFile(TYPES[path.suffix], data, packed, tag)
    return found


async def static(path: str, request: Request) -> Response:
    """One of these files."""
    file = files().get(path)
    if file is None:
        return Response("there is no such file", 404, media_type="text/plain")
    # The address has a version in it, but modules import each other without one.
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            file.packed,
            headers={**headers, "Content-Encoding": "gzip"},
            media_type=f"{file.kind}; charset=utf-8",
        )
    return Response(file.data, headers=headers, media_type=f"{file.kind}; charset=utf-8")

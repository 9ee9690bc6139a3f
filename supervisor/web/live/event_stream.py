"""EventStream: the answer to a request that watches, as server-sent events.

Its bytes go right to the connection: a coroutine for each of a thousand readers and entry would take most of the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from .batch import Format, chunk
from .hub import Hub
from .reader import Ending, LiveReader

#: Bytes that are handed to a connection at once. It takes more when the client has read.
PART: Final = 32 * 1024
#: Keeps proxies from closing a connection on which nothing happens, and finds out whether the client is still there.
COMMENT: Final = b":\n\n"
#: For a stream to which a browser comes back: how long it waits before, in milliseconds.
RETRY: Final = b"retry: 1000\n\n"
HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


class Outlet(Protocol):
    """The connection of a reader."""

    @property
    def is_full(self) -> bool:
        """Whether the client has to read before more is written."""

    def begin_stream(self, on_room: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """The body of the answer is written by `write` from now on. Tells when there is room, or no client any more."""

    def end_stream(self) -> None:
        """What follows is written as usual."""

    def write(self, data: bytes | memoryview) -> None:
        """Write a part of the body, in the form in which it goes over the wire."""

    def drop(self) -> None:
        """Close the connection at once."""


class EventStream:
    """An ASGI application for one request. It closes the reader when it is done."""

    def __init__(
        self,
        hub: Hub,
        reader: LiveReader,
        format: Format,
        headers: Mapping[str, str] | None = None,
        *,
        begin: bytes = b"",
    ) -> None:
        """`begin` is sent before the first event."""
        self._begin = begin
        self._hub = hub
        self._reader = reader
        self._format = format
        self._headers = {**HEADERS, **(headers or {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            headers = [
                (name.lower().encode("latin-1"), text.encode("latin-1"))
                for name, text in self._headers.items()
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                await self._write(scope)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._hub.close(self._reader)

    async def _write(self, scope: Scope) -> None:
        outlet: Outlet = scope["state"]["connection"]
        chunked = scope["http_version"] == "1.1"
        writer = _Writer(self._reader, self._format, outlet, begin=self._begin, chunked=chunked)
        outlet.begin_stream(writer.write, writer.lose)
        try:
            writer.write()
            await writer.over.wait()
            if writer.is_within_event and not writer.is_lost.is_set():
                # An event that is cut off is none, and the client comes back for it.
                outlet.drop()
                await writer.is_lost.wait()
        finally:
            outlet.end_stream()


class _Writer:
    """Writes what the reader takes for as long as the connection has room."""

    def __init__(
        self, reader: LiveReader, format: Format, outlet: Outlet, *, begin: bytes, chunked: bool
    ) -> None:
        self._reader = reader
        self._format = format
        self._outlet = outlet
        self._chunked = chunked
        self._left = memoryview(self._framed(begin))
        self._is_quiet = False
        #: Set when nothing more is to be written.
        self.over = asyncio.Event()
        self.is_lost = asyncio.Event()
        reader.on_news = self.write
        reader.on_beat = self.beat

    @property
    def is_within_event(self) -> bool:
        """Whether only a part of an event has been written."""
        return bool(self._left)

    def write(self) -> None:
        """Write what there is."""
        if self.over.is_set():
            return
        if self._reader.ending not in (None, Ending.END):
            self.over.set()
            return
        while not self._outlet.is_full and not self.over.is_set():
            if not self._left:
                batch = self._reader.take()
                if batch is None:
                    if self._reader.ending is not None:
                        self.over.set()
                    return
                self._left = memoryview(batch.joined(self._format, chunked=self._chunked))
            if self._left:
                part, self._left = self._left[:PART], self._left[PART:]
                self._is_quiet = False
                self._outlet.write(part)

    def beat(self) -> None:
        """Say something if nothing was said since the last beat."""
        if self._is_quiet and not self._left and not self._outlet.is_full:
            self._outlet.write(self._framed(COMMENT))
        self._is_quiet = True

    def lose(self) -> None:
        """The client is gone."""
        self.is_lost.set()
        self.over.set()

    def _framed(self, data: bytes) -> bytes:
        return chunk(data) if self._chunked and data else data

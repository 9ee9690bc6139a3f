"""A client's end of a supervisor's socket, frame by frame, for tests of what clients may send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from room import PATIENCE, Room
from understudy.supervisor.wire.codec import VERSION, Decoder, encode
from understudy.supervisor.wire.messages import Answer, Ask

#: Connections that `listening` closes.
_open: list[Wire] = []


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._decoder = Decoder(64 << 20)
        self.frames: list[tuple[Any, ...]] = []
        self.closed = False

    async def send(self, *frames: Any) -> None:
        await self.send_bytes(b"".join(map(encode, frames)))

    async def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            self.closed = True

    async def read(self) -> bool:
        """Wait for more bytes; False if the supervisor has closed the connection."""
        try:
            async with asyncio.timeout(PATIENCE):
                data = await self._reader.read(1 << 18)
        except ConnectionError:
            data = b""
        self.closed = self.closed or not data
        self.frames += self._decoder.feed(data)
        return bool(data)

    async def until(self, op: Answer, request: int | None = None, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait for this many frames of a kind (for one request); return them."""
        while True:
            found = [f for f in self.frames if f[0] == op and (request is None or f[1] == request)]
            if len(found) >= count:
                return found
            assert await self.read(), f"closed; what came: {self.frames}"

    async def answer(self, request: int) -> tuple[Any, ...]:
        """Wait for the OK or ERROR of a request."""
        while True:
            for frame in self.frames:
                if frame[0] in {Answer.OK, Answer.ERROR} and frame[1] == request:
                    return frame
            assert await self.read(), f"closed; what came: {self.frames}"

    async def ask(self, op: Ask, *fields: Any, request: int = 1) -> Any:
        """Send a request and wait: the payload, or (error class, message)."""
        self.frames = [f for f in self.frames if f[1] != request]
        await self.send((op, request, *fields))
        frame = await self.answer(request)
        return frame[2] if frame[0] == Answer.OK else frame[2:4]

    async def last_words(self) -> tuple[Any, ...] | None:
        """Wait until the supervisor has closed it; return its error, if it sent one."""
        while await self.read():
            pass
        errors = [frame for frame in self.frames if frame[0] == Answer.ERROR and frame[1] == 0]
        return errors[-1] if errors else None

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def listening(it: Room) -> AsyncIterator[str]:
    """Serve clients on a socket in the room's home; its path."""
    path = str(it.home / "test.sock")
    server = await it.loop.create_unix_server(it.service.connection, path)
    try:
        yield path
    finally:
        server.close()
        while _open:
            await _open.pop().close()
        await it.service.close("the test is over")
        await server.wait_closed()


async def connect(path: str, *, greet: bool = True) -> Wire:
    """A connection, and the first frame of the supervisor."""
    wire = Wire(*await asyncio.open_unix_connection(path))
    _open.append(wire)
    if greet:
        await wire.send((Ask.HELLO, VERSION))
        await wire.until(Answer.WELCOME)
    return wire

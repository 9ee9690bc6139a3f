"""The peer of the storm's connections. It is never killed; it cuts connections at random and records messages.

    python storm_server.py FOLDER SEED

It ends when its standard input ends. Its journal: ["opened", connection], ["hello", connection, task],
["heard", task, message], ["cut", connection], ["ended", connection, the close code if the client has closed,
or None].
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

#: The probability that a handshake is answered with 503.
REFUSED = 0.03
#: Close codes of cuts, in addition to resets: the client opens the connection again after these.
PASSING = [1001, 1011, 1012]


class Server:
    def __init__(self, folder: Path, seed: str) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._numbers = itertools.count(1)
        self._known: set[str] = set()
        self._journal = os.open(folder / "server.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, *row: Any) -> None:
        os.write(self._journal, json.dumps(row).encode() + b"\n")

    async def run(self) -> None:
        """Serve until standard input ends."""
        async with serve(
            self._handle, "127.0.0.1", 0, process_request=self._admit, compression=None, ping_interval=None
        ) as server:
            new = self._folder / "port.new"
            new.write_text(str(server.sockets[0].getsockname()[1]))
            new.rename(self._folder / "port")
            await asyncio.to_thread(sys.stdin.read)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(503, "not now\n") if self._chance.random() < REFUSED else None

    async def _handle(self, conn: ServerConnection) -> None:
        number = next(self._numbers)
        self.note("opened", number)
        try:
            who = json.loads(await conn.recv())
            self.note("hello", number, who["task"])
            # The first connection of each task is cut soon, so that each task has a cut.
            first = who["task"] not in self._known
            self._known.add(who["task"])
            left = self._chance.randrange(3, 10) if first else self._chance.randrange(5, 100)
            async with asyncio.timeout(self._chance.uniform(0.5, 5)):
                await (
                    self._count(conn, who, left) if who["count"] else self._answer(conn, who["task"], left)
                )
            await self._cut(conn, number)
        except TimeoutError:
            await self._cut(conn, number)
        except ConnectionClosed:
            pass
        finally:
            await conn.close()
            protocol = conn.protocol
            # An answer to our close repeats our code.
            code = protocol.close_rcvd.code if protocol.close_rcvd and protocol.close_rcvd_then_sent else None
            self.note("ended", number, code)

    async def _count(self, conn: ServerConnection, who: dict[str, Any], left: int) -> None:
        """The next numbers after the last one that the client has."""
        for number in range(who["after"] + 1, min(who["after"] + left, who["count"]) + 1):
            await conn.send(json.dumps({"n": number}))
            await asyncio.sleep(self._chance.uniform(0, 0.004))
        if who["after"] + left >= who["count"]:
            await conn.wait_closed()
            raise ConnectionClosed(None, None)

    async def _answer(self, conn: ServerConnection, task: str, left: int) -> None:
        """Record each message and answer it; the last one is recorded and not answered."""
        while True:
            said = json.loads(await conn.recv())["say"]
            self.note("heard", task, said)
            left -= 1
            if not left:
                return
            await conn.send(json.dumps({"ack": said}))

    async def _cut(self, conn: ServerConnection, number: int) -> None:
        self.note("cut", number)
        if self._chance.random() < 0.5:
            await conn.close(self._chance.choice(PASSING))
            return
        if not conn.transport.is_closing():
            sock = conn.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.transport.abort()


if __name__ == "__main__":
    asyncio.run(Server(Path(sys.argv[1]), sys.argv[2]).run())

"""A non-blocking Unix socket with msgpack frames."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import msgpack

#: Bytes requested from the kernel at once.
CHUNK = 1 << 18


class Link:
    """Reads the bytes that are there, and keeps those that cannot be sent yet."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.open = True
        self._unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)
        self._unsent = bytearray()

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    def frames(self) -> Iterator[Any]:
        """The received frames. When the peer has closed, `open` becomes false."""
        try:
            while data := self.sock.recv(CHUNK):
                self._unpacker.feed(data)
                if len(data) < CHUNK:
                    break
            else:
                self.open = False
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.open = False
        return iter(self._unpacker)

    def send(self, data: bytes) -> bool:
        """Send as much as possible; returns whether something is left, for `flush` when the socket is writable."""
        self._unsent += data
        return self.flush()

    def flush(self) -> bool:
        """Send the rest; returns whether something is still left."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(memoryview(self._unsent)[:CHUNK].tobytes())]
        except BlockingIOError:
            return True
        except (BrokenPipeError, ConnectionResetError):
            self.open = False
        return False

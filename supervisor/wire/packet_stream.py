"""A packet socket in the event loop: never blocks, keeps what does not fit into the kernel's buffer yet."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from . import packets


class PacketStream:
    """Guarantees: packets go out in order; `on_packet` is never called after `close`."""

    def __init__(self, sock: socket.socket, on_packet: Callable[[dict[str, Any]], None]) -> None:
        """Needs a running event loop. The socket is this object's from now on."""
        self._sock: socket.socket | None = sock
        self._on_packet = on_packet
        self._inlet = packets.Inlet(sock)
        self._outbox: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self.drain)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send, or keep for later. To a peer that is gone it is silently lost."""
        first, *others = packets.cut(message)
        if self._sock is not None:
            # Copies: the caller may close its own before this packet goes out.
            self._outbox.append((first, _copies(fds)))
            self._outbox += ((packet, []) for packet in others)
            self._flush()

    def drain(self) -> None:
        """Take in what has arrived; closes the line once the peer has."""
        while self._sock is not None:
            try:
                received = self._inlet.receive()
            except BlockingIOError:
                return
            if received is None:
                self.close()
                return
            _close_all(received[1])  # Nobody sends us any.
            self._on_packet(received[0])

    def close(self) -> None:
        """Drop the socket and what has not gone out. Twice is fine."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._sock = None
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _flush(self) -> None:
        while self._outbox and self._sock is not None:
            packet, fds = self._outbox[0]
            try:
                packets.send_packet(self._sock, packet, fds)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._flush)
                return
            except OSError:
                break  # The peer is gone: the reader is told so, too.
            self._outbox.popleft()
            _close_all(fds)
        if self._sock is not None:
            self._loop.remove_writer(self._sock)


def _copies(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))  # what was copied before one fails is in the list
    except OSError:
        _close_all(copies)
        raise
    return copies


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)

"""PacketStream: a packet socket in the event loop. Packets wait while the kernel's buffer is full."""

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
        """Needs a running event loop. Takes ownership of the socket."""
        self._sock: socket.socket | None = sock
        self._on_packet = on_packet
        self._inlet = packets.Inlet(sock)
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self.drain)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send now or later. The message is silently lost if the peer is gone."""
        first, *others = packets.cut(message)
        if self._sock is not None:
            # Copies, because the caller may close its descriptors before this packet is sent.
            self._unsent.append((first, _copies(fds)))
            self._unsent += ((packet, []) for packet in others)
            self._flush()

    def drain(self) -> None:
        """Handle all packets received; close the socket if the peer has closed its end."""
        while self._sock is not None:
            try:
                received = self._inlet.receive()
            except BlockingIOError:
                return
            if received is None:
                self.close()
                return
            _close_all(received[1])  # No peer sends us descriptors.
            self._on_packet(received[0])

    def close(self) -> None:
        """Close the socket and drop unsent packets. May be called twice."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self._sock = None
        while self._unsent:
            _close_all(self._unsent.popleft()[1])

    def _flush(self) -> None:
        while self._unsent and self._sock is not None:
            packet, fds = self._unsent[0]
            try:
                packets.send_packet(self._sock, packet, fds)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._flush)
                return
            except OSError:
                break  # The peer is gone; the reader notices it too.
            self._unsent.popleft()
            _close_all(fds)
        if self._sock is not None:
            self._loop.remove_writer(self._sock)


def _copies(fds: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies.extend(map(os.dup, fds))  # Copies made before a failure stay in the list.
    except OSError:
        _close_all(copies)
        raise
    return copies


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)

"""Buffer sizes of the Unix sockets that carry frames: in the kernel, and for one read.

Both sizes suit large values. With the kernel's usual 208 KiB, a value of 1 MB is sent in five pieces. Each piece
wakes the reader, which is done before the writer wakes again.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from abc import ABC, abstractmethod
from typing import ClassVar, Final

from ..settings import MIB

#: Bytes of one read.
READ_SIZE: Final = MIB
#: Bytes that the kernel holds for a busy reader; it doubles this figure for its own overhead.
HELD: Final = MIB


def widen(sock: socket.socket) -> None:
    """Raise the socket's send buffer to HELD bytes, or to the kernel's limit (net.core.wmem_max)."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * HELD:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HELD)


def read_buffer() -> memoryview:
    """A reusable read buffer. Pages that are never filled take no memory."""
    return memoryview(mmap.mmap(-1, READ_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class StreamProtocol(asyncio.BufferedProtocol, ABC):
    """A connection in the event loop.

    All connections share one read buffer, so that a thousand need only one.
    """

    _buffer: ClassVar = read_buffer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(self._buffer[:nbytes])

    @abstractmethod
    def data_received(self, data: bytes | memoryview) -> None:
        """Handle received bytes; the buffer is overwritten after this returns."""

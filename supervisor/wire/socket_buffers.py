"""The Unix sockets that carry frames: how much of them the kernel holds, and how much is read at once.

Both are sized for large values. With the kernel's usual 208 KiB a value of 1 MB goes in five pieces, and each of them
wakes its reader, who is done before the writer has been woken in turn.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from typing import ClassVar, Final

from ..settings import MIB

#: Bytes asked of the kernel at once.
READ_SIZE: Final = MIB
#: Bytes that the kernel holds for a reader who is busy; it doubles the figure, for its own book-keeping.
HELD: Final = MIB


def widen(sock: socket.socket) -> None:
    """Have the kernel hold this much of what is sent here, or as much as it allows (net.core.wmem_max)."""
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 * HELD:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, HELD)


def read_buffer() -> memoryview:
    """A buffer to read into, again and again. What is never filled of it takes no memory."""
    return memoryview(mmap.mmap(-1, READ_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


class StreamProtocol(asyncio.BufferedProtocol):
    """A connection of the loop's. All of them are read into one buffer, so that a thousand take no more than one."""

    _buffer: ClassVar = read_buffer()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        self.data_received(self._buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Something has come in; it is overwritten once this returns."""
        raise NotImplementedError

"""InlineTransport: a connection inside one process. What is written arrives in the order in which it was written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from ..wire.socket_buffers import READ_SIZE


def in_reads(data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """The data as the reader of a socket would get it."""
    for start in range(0, len(data), READ_SIZE):
        yield bytes(data[start : start + READ_SIZE])


class InlineTransport(asyncio.Transport):
    """One end, for a protocol of the supervisor. There is no back-pressure: the reader takes all at once."""

    def __init__(self, deliver: Callable[[bytes], None], on_close: Callable[[], None] = lambda: None) -> None:
        """`deliver` gets what is written; `on_close` is called when this end is closed."""
        super().__init__()
        self._deliver = deliver
        self._on_close = on_close
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio."""
        if not self._closed:
            for part in in_reads(data):
                self._deliver(part)

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._closed

    def close(self) -> None:
        """See asyncio."""
        if not self._closed:
            self._closed = True
            self._on_close()

    abort = close

    def pause_reading(self) -> None:
        """See asyncio. There is nothing that could wait elsewhere."""

    def resume_reading(self) -> None:
        """See asyncio."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio."""

    def get_write_buffer_size(self) -> int:
        """See asyncio."""
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio. There is no socket."""
        return default

"""The frames on a socket, without the socket: msgpack arrays one after the other, each `[op, …]`.

A frame has no length in front: msgpack says itself where a value ends. Values of users travel inside as bytes that
nobody on the way looks into. Whatever is not an array that starts with an int, or grows past the limit, is a
ProtocolError, after which the connection must be closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgpack

from ...actors.errors import ProtocolError
from ..settings import BATCH_BYTES, BATCH_LIMIT, FRAME_OVERHEAD

#: The protocol's version, in the first frame each way.
VERSION: Final = 1

T = TypeVar("T")

#: Packers that nobody uses just now. As many are made as threads encode at the same time: one for each thread, of which
#: a worker may have thousands that wait, would cost each of them a page of the packer's buffer.
_idle: Final[list[msgpack.Packer]] = []


def encode(frame: Any) -> bytes:
    """The bytes of one frame. Any thread may call it."""
    try:
        packer = _idle.pop()
    except IndexError:
        packer = msgpack.Packer(autoreset=True)
    encoded: bytes = packer.pack(frame)
    _idle.append(packer)
    return encoded


def parts(rows: Iterable[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """The rows in lists that fit into one frame each: no limit bounds how much there is to tell at one time.

    `size` gives the bytes of a row, roughly. A row larger than a batch may be has a list of its own.
    """
    rows = list(rows)
    if len(rows) <= BATCH_LIMIT and sum(map(size, rows)) <= BATCH_BYTES:
        # As it nearly always is.
        if rows:
            yield rows
        return
    part: list[T] = []
    total = 0
    for row in rows:
        more = size(row)
        if part and (len(part) >= BATCH_LIMIT or total + more > BATCH_BYTES):
            yield part
            part, total = [], 0
        part.append(row)
        total += more
    if part:
        yield part


class Decoder:
    """Takes bytes as they come and gives whole frames, in memory proportional to the bytes that have come.

    msgpack makes an array as long as its header says when it comes upon the header: a thousand of these within each
    other would take 40 MB for the 3,000 bytes of a frame that never ends. So a frame is skipped over first, which
    makes nothing and tells whether it is whole, and only then unpacked. Both take less than a tenth of the time that
    a frame's handling does.
    """

    def __init__(self, value_limit: int) -> None:
        # One value and one batch, several of which may be waiting in what a single read brought in.
        self._limit = 2 * (value_limit + BATCH_BYTES + FRAME_OVERHEAD)
        self._scout = msgpack.Unpacker(max_buffer_size=self._limit)
        self._unpacker = msgpack.Unpacker(
            use_list=False,
            strict_map_key=False,
            max_buffer_size=self._limit,
            max_array_len=4 * BATCH_LIMIT,
            max_map_len=1000,
            max_ext_len=0,
        )

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[Any, ...]]:
        """The frames that are complete now. The call copies the bytes, going over the frames looks at them; each
        raises ProtocolError, the former for too many, the latter at the first that are no frame."""
        try:
            self._scout.feed(data)
            self._unpacker.feed(data)
        except msgpack.BufferFull as error:
            raise ProtocolError(f"too large: a frame takes no more than {self._limit:,} bytes") from error
        return self._frames()

    def _frames(self) -> Iterator[tuple[Any, ...]]:
        try:
            skip, unpack = self._scout.skip, self._unpacker.unpack
            while True:
                try:
                    skip()
                except msgpack.OutOfData:
                    return
                frame = unpack()
                if type(frame) is not tuple or not frame or type(frame[0]) is not int:
                    raise ProtocolError(f"not a frame: {frame!r:.100}")
                yield frame
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ProtocolError(f"not msgpack, or too large: {str(error) or type(error).__name__}") from error

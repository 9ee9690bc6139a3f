"""Encoding and decoding of frames, without the socket: a sequence of msgpack arrays, each `[op, …]`.

A frame has no length prefix, because msgpack marks the end of a value. Users' values are bytes inside a frame and
are not decoded on the way. A frame that is no array, does not start with an int or exceeds the limit raises
ProtocolError; the connection must then be closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgpack

from ...actors.errors import ProtocolError
from ..settings import BATCH_BYTES, BATCH_LIMIT, FRAME_OVERHEAD

#: The protocol's version, in the first frame of each side. A release whose operations differ has another one.
VERSION: Final = 2

T = TypeVar("T")


def check_version(theirs: Any, peer: str, us: str) -> None:
    """ProtocolError, which names both versions, unless the peer speaks ours."""
    if type(theirs) is not int or theirs != VERSION:
        raise ProtocolError(
            f"the {peer} speaks protocol version {theirs!r:.20}, this {us} version {VERSION}: install the same release "
            "of understudy on both sides, and restart what still runs the other one"
        )


#: Packers not in use now: as many as threads have ever encoded at the same time. One packer for each thread
#: would cost a page of buffer each, and a worker may have thousands of waiting threads.
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
    """Split the rows into lists that fit into one frame each; the number of rows has no limit.

    `size` gives the approximate bytes of a row. A row larger than BATCH_BYTES gets a list of its own.
    """
    rows = list(rows)
    if len(rows) <= BATCH_LIMIT and sum(map(size, rows)) <= BATCH_BYTES:
        # The usual case.
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
    """Turns received bytes into whole frames, in memory proportional to the bytes received.

    msgpack allocates an array of the length in its header as soon as it reads the header. A thousand nested headers
    would take 40 MB for 3,000 bytes of a frame that never ends. So a frame is skipped first, which allocates
    nothing and shows whether the frame is whole; then it is unpacked. Both take less than a tenth of the time of
    handling a frame.
    """

    def __init__(self, value_limit: int) -> None:
        # Room for one value and one batch, twice: one read may bring in more than one frame.
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
        """The frames that are complete now.

        The call copies the bytes and raises ProtocolError if they are too many. The iteration decodes them and
        raises ProtocolError at the first bytes that are no frame.
        """
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

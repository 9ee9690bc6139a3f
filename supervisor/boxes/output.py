"""`Output`, a container's output as lines of a log, made from the engine's frames. Pure.

The engine gives output in entries: a line, or a part of a long line, with its time. Reading the entries again
from the first one always gives the same lines. Each line gets a later time than the line before it on its
stream, so a line's time identifies it. After a crash, all output is read again and lines that are in the log
are left out.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Final, NamedTuple

from ...actors.line_buffer import LINE_LIMIT

#: Bytes that are kept from the beginning of each stream.
STREAM_LIMIT: Final = 10 * 1024 * 1024
#: The head of a frame: the stream's number and the entry's length.
HEAD: Final = struct.Struct(">BxxxL")
#: Names of the streams by number.
STREAMS: Final = {1: "stdout", 2: "stderr"}


class Line(NamedTuple):
    """One line for the log."""

    level: str
    text: str
    at: float


class Frames:
    """Splits a byte stream into (stream number, entry)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The entries that these bytes complete."""
        data = self._rest + data
        entries, start = [], 0
        while start + HEAD.size <= len(data):
            number, length = HEAD.unpack_from(data, start)
            end = start + HEAD.size + length
            if end > len(data):
                break
            entries.append((number, data[start + HEAD.size : end]))
            start = end
        self._rest = data[start:]
        return entries


class Output:
    """The output of a container so far."""

    def __init__(self, seen: Mapping[str, float] | None = None) -> None:
        """`seen`: by stream, the time of the last line that is already in the log."""
        self._streams = {name: _Stream(name, (seen or {}).get(name, -math.inf)) for name in STREAMS.values()}

    def add(self, number: int, entry: bytes) -> list[Line]:
        """The new lines that an entry completes."""
        stream = self._streams.get(STREAMS.get(number, ""))
        return [] if stream is None else stream.add(entry)

    def end(self) -> list[Line]:
        """The output has ended: return the unfinished lines."""
        return [line for stream in self._streams.values() for line in stream.end()]

    def text(self, name: str) -> str:
        """The kept text of a stream."""
        return self._streams[name].text()

    def seen(self) -> dict[str, float]:
        """By stream, the time of the last line."""
        return {name: stream.last for name, stream in self._streams.items()}


class _Stream:
    def __init__(self, name: str, seen: float) -> None:
        self._name = name
        #: Time of the last line that is in the log.
        self._seen = seen
        #: Time of the last line made here.
        self._at = -math.inf
        #: Time of the last entry.
        self._entry_at = 0.0
        self._rest = b""
        self._kept = bytearray()
        self._full = False

    @property
    def last(self) -> float:
        return max(self._seen, self._at)

    def add(self, entry: bytes) -> list[Line]:
        if self._full:
            return []
        stamp, _, data = entry.partition(b" ")
        at = self._entry_at = seconds(stamp)
        room = STREAM_LIMIT - len(self._kept)
        self._full = len(data) > room
        data = data[:room]
        self._kept += data
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE_LIMIT:
            piece, self._rest = _cut(self._rest)
            whole.append(piece)
        lines = [line for text in whole for line in self._lines(text, at)]
        return [*lines, *self._last_words(at)] if self._full else lines

    def _lines(self, text: bytes, at: float) -> list[Line]:
        """A line, cut into pieces if it is too long, without the pieces that are already in the log."""
        pieces = []
        while len(text) > LINE_LIMIT:
            piece, text = _cut(text)
            pieces.append(piece)
        lines = []
        for piece in (*pieces, text.removesuffix(b"\r")):
            self._at = at if at > self._at else math.nextafter(self._at, math.inf)
            if self._at > self._seen:
                lines.append(Line(self._name, piece.decode("utf-8", "backslashreplace"), self._at))
        return lines

    def _last_words(self, at: float) -> list[Line]:
        rest, self._rest = self._rest, b""
        notice = f"the rest of {self._name} is dropped: only the first {STREAM_LIMIT:,} bytes are kept"
        self._kept += b"\n" * (not self._kept.endswith(b"\n")) + notice.encode() + b"\n"
        return [*(self._lines(rest, at) if rest else []), *self._lines(notice.encode(), at)]

    def end(self) -> list[Line]:
        rest, self._rest = self._rest, b""
        return self._lines(rest, self._entry_at) if rest else []

    def text(self) -> str:
        return self._kept.decode("utf-8", "backslashreplace")


def _cut(data: bytes) -> tuple[bytes, bytes]:
    """The first `LINE_LIMIT` bytes or a few less, and the rest. Never cuts a character."""
    end = LINE_LIMIT
    while end > LINE_LIMIT - 4 and data[end] & 0xC0 == 0x80:
        end -= 1
    return data[:end], data[end:]


def seconds(stamp: bytes | str) -> float:
    """An engine's time such as `2030-01-31T08:00:00.123456789Z`, in seconds since the epoch. ValueError."""
    text = stamp.decode() if isinstance(stamp, bytes) else stamp
    whole, dot, rest = text.partition(".")
    if not dot:
        return datetime.fromisoformat(text).timestamp()
    digits = rest.rstrip("Zz")
    zone = "+00:00"
    for sign in "+-":
        if sign in digits:
            digits, _, offset = digits.partition(sign)
            zone = sign + offset
    return datetime.fromisoformat(whole + zone).timestamp() + float(f"0.{digits}")

"""A buffer that joins printed text into lines, as a terminal would show them."""

from __future__ import annotations

import codecs
import threading
from typing import Final

#: Characters of an unfinished line; a longer one is cut, and each piece becomes a log entry.
LINE_LIMIT: Final = 8_192

_Decoder: Final = codecs.getincrementaldecoder("utf-8")


class LineBuffer:
    """Printed text that is not a whole line yet, by stream. Any thread may add."""

    __slots__ = ("_decoders", "_lock", "_rests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rests: dict[str, str] = {}
        #: By stream, for characters of which some bytes are still to come.
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}

    def add(self, stream: str, text: str | bytes) -> list[str]:
        """The lines that this text completes. Of a rewritten line (a progress bar) the last state is kept.

        Bytes are UTF-8, and may be cut within a character.
        """
        with self._lock:
            if isinstance(text, bytes):
                if stream not in self._decoders:
                    self._decoders[stream] = _Decoder("backslashreplace")
                text = self._decoders[stream].decode(text)
            *lines, rest = (self._rests.get(stream, "") + text).split("\n")
            lines = [_last_state(line.removesuffix("\r")) for line in lines]
            # A "\r" at the very end is kept: a "\n" may follow it.
            rest = _last_state(rest.removesuffix("\r")) + ("\r" if rest.endswith("\r") else "")
            while len(rest) > LINE_LIMIT:
                lines.append(rest[:LINE_LIMIT])
                rest = rest[LINE_LIMIT:]
            self._rests[stream] = rest
        return lines

    def rest(self) -> list[tuple[str, str]]:
        """(stream, text) of each unfinished line. This empties the buffer."""
        with self._lock:
            for stream, decoder in self._decoders.items():
                self._rests[stream] = self._rests.get(stream, "") + decoder.decode(b"", final=True)
            rests = [(stream, text.removesuffix("\r")) for stream, text in self._rests.items()]
            self._rests = {}
        return [(stream, text) for stream, text in rests if text]


def _last_state(line: str) -> str:
    return line.rpartition("\r")[2]

"""A buffer that joins printed text into lines, as a terminal would show them."""

from __future__ import annotations

import threading
from typing import Final

#: Characters of an unfinished line; a longer one is cut, and each piece becomes a log entry.
LINE_LIMIT: Final = 8_192


class LineBuffer:
    """Printed text that is not a whole line yet, by stream. Any thread may add."""

    __slots__ = ("_lock", "_rests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rests: dict[str, str] = {}

    def add(self, stream: str, text: str) -> list[str]:
        """The lines that this text completes. Of a rewritten line (a progress bar) the last state is kept."""
        with self._lock:
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
            rests = [(stream, text.removesuffix("\r")) for stream, text in self._rests.items()]
            self._rests = {}
        return [(stream, text) for stream, text in rests if text]


def _last_state(line: str) -> str:
    return line.rpartition("\r")[2]

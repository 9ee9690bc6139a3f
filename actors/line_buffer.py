"""Putting printed text together to lines, as a terminal would show them."""

from __future__ import annotations

import threading
from typing import Final

#: Characters after which a line that does not end is cut: it becomes an entry, and the next one begins.
LINE_LIMIT: Final = 8_192


class LineBuffer:
    """What has been printed and is no whole line yet, by stream. Any thread may add."""

    __slots__ = ("_lock", "_rests")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rests: dict[str, str] = {}

    def add(self, stream: str, text: str) -> list[str]:
        """The lines that this text completes. Of a line that was rewritten, as progress bars do, the last state."""
        with self._lock:
            *lines, rest = (self._rests.get(stream, "") + text).split("\n")
            lines = [_last_state(line.removesuffix("\r")) for line in lines]
            # The "\r" at the very end may still turn out to be part of a line's end.
            rest = _last_state(rest.removesuffix("\r")) + ("\r" if rest.endswith("\r") else "")
            while len(rest) > LINE_LIMIT:
                lines.append(rest[:LINE_LIMIT])
                rest = rest[LINE_LIMIT:]
            self._rests[stream] = rest
        return lines

    def rest(self) -> list[tuple[str, str]]:
        """(stream, text) of what is left where anything is; nothing is left then."""
        with self._lock:
            rests = [(stream, text.removesuffix("\r")) for stream, text in self._rests.items()]
            self._rests = {}
        return [(stream, text) for stream, text in rests if text]


def _last_state(line: str) -> str:
    return line.rpartition("\r")[2]

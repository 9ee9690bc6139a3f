"""The rows of monitors, in the table of class actors: which tasks get a message when another one has ended.

==================================== =========
key                                  value
==================================== =========
0e, id of who is told, watched id    empty
==================================== =========

A row goes with the end of either.
"""

from __future__ import annotations

from typing import Final

from .schema import ID_BYTES, after_prefix

#: The first byte of the key: what the row is.
MONITOR: Final = b"\x0e"

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""

_KEY_BYTES: Final = 1 + 2 * ID_BYTES


def monitor_key(watcher: bytes, watched: bytes) -> bytes:
    """The key of a monitor."""
    return MONITOR + watcher + watched


def monitor_in(key: bytes) -> tuple[bytes, bytes]:
    """Who is told, and who is watched; ValueError if the key is malformed."""
    if len(key) != _KEY_BYTES or key[:1] != MONITOR:
        raise ValueError("not a monitor: its key is malformed")
    return key[1 : 1 + ID_BYTES], key[1 + ID_BYTES :]


def monitors_of(watcher: bytes) -> Range:
    """The monitors of a task, by the ids of the watched."""
    return MONITOR + watcher, after_prefix(MONITOR + watcher)


def all_monitors() -> Range:
    """Those of all tasks."""
    return MONITOR, after_prefix(MONITOR)

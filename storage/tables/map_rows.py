"""The rows of maps, in the table of class actors: which children `map_tasks` has started, and which are kept for it.

==================================== ==============================================================
key                                  value
==================================== ==============================================================
10, parent's id, base                empty, or 01 once the map is over and its children are let go
11, parent's id, base, child's id    ids of further children
==================================== ==============================================================

The children of a map are those whose ids begin with its base. While it is not over, ended children are not removed
when their time to keep is over: the next attempt at the parent would start them again. They are noted in rows 11, in
place of rows of `expiry`, until the map is over.
"""

from __future__ import annotations

from typing import Final

from ...actors.map_ids import BASE_BYTES
from .schema import ID_BYTES, after_prefix

#: The first byte of the key: what the row is.
MAP: Final = b"\x10"
KEPT: Final = b"\x11"

#: The values of the row of a map.
UNDER_WAY: Final = b""
OVER: Final = b"\x01"

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""

_MAP_BYTES: Final = 1 + ID_BYTES + BASE_BYTES


def map_key(parent: bytes, base: bytes) -> bytes:
    """The key of a map."""
    return MAP + parent + base


def map_in(key: bytes) -> tuple[bytes, bytes]:
    """The parent and the base in the key of a map; ValueError if it is malformed."""
    if len(key) != _MAP_BYTES or key[:1] != MAP:
        raise ValueError("not a map: its key is malformed")
    return key[1 : 1 + ID_BYTES], key[1 + ID_BYTES :]


def maps_of(parent: bytes) -> Range:
    """The maps of a task."""
    return MAP + parent, after_prefix(MAP + parent)


def all_maps() -> Range:
    """Those of all tasks."""
    return MAP, after_prefix(MAP)


def kept_key(parent: bytes, base: bytes, child: bytes) -> bytes:
    """The key of the children that are kept; `child` is the first of them."""
    return KEPT + parent + base + child


def kept_in(key: bytes, row: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """The parent, the base and the kept children of a row; ValueError if it is malformed."""
    if len(key) != _MAP_BYTES + ID_BYTES or key[:1] != KEPT or len(row) % ID_BYTES:
        raise ValueError("not children that are kept: the row is malformed")
    more = [row[start : start + ID_BYTES] for start in range(0, len(row), ID_BYTES)]
    return key[1 : 1 + ID_BYTES], key[1 + ID_BYTES : _MAP_BYTES], [key[_MAP_BYTES:], *more]


def kept_of(parent: bytes, base: bytes) -> Range:
    """The rows of the children that are kept for a map."""
    prefix = KEPT + parent + base
    return prefix, after_prefix(prefix)

"""The rows of links, in the table of class actors: which tasks are cancelled when another one has ended.

============================== =========
key                            value
============================== =========
0d, parent's id, child's id    empty
============================== =========

A row goes with the end of its child. So those whose parent has ended are what is left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .schema import ID_BYTES, Table, after_prefix

#: The first byte of the key: what the row is.
LINK: Final = b"\x0d"

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""

Scan = Callable[..., list[tuple[bytes, bytes]]]
"""`Store.scan`."""

_KEY_BYTES: Final = 1 + 2 * ID_BYTES


def link_key(parent: bytes, child: bytes) -> bytes:
    """The key of a link."""
    return LINK + parent + child


def link_in(key: bytes) -> tuple[bytes, bytes]:
    """The parent and the child in the key of a link; ValueError if it is malformed."""
    if len(key) != _KEY_BYTES or key[:1] != LINK:
        raise ValueError("not a link: its key is malformed")
    return key[1 : 1 + ID_BYTES], key[1 + ID_BYTES :]


def links_of(parent: bytes) -> Range:
    """The links of a parent, by the ids of the children."""
    return LINK + parent, after_prefix(LINK + parent)


def parents(scan: Scan, after: bytes, most: int) -> list[bytes]:
    """At most `most` tasks whose ids are above `after` and that have links on disk.

    It reads one row for each of them, however many children that one has.
    """
    found: list[bytes] = []
    start, stop = after_prefix(LINK + after) if after else LINK, after_prefix(LINK)
    while len(found) < most and (rows := scan(Table.ACTORS, start, stop, 1)):
        parent = rows[0][0][1 : 1 + ID_BYTES]
        found.append(parent)
        start = after_prefix(LINK + parent)
    return found

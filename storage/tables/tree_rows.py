"""The rows of supervision trees: one for each child and each tree, in the table of class actors.

============== =====================================
key            value
============== =====================================
07, path       `NodeRow.pack()`
============== =====================================

A path is the ids from the top tree down to the child with slashes between them, as UTF-8: "shop/workers/w1".
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgpack

from .schema import ID_BYTES, after_prefix

#: The first byte of the key: what the row is.
NODE: Final = b"\x07"

MARKS: Final = frozenset(("", "restart", "replace", "hold", "end", "delete"))
"""What may be to be done with a node: the values of `Mark` of the supervisor."""

PATH_BYTES: Final = 500
"""Longest path, as UTF-8."""

Range = tuple[bytes, bytes]
"""The `start` and `stop` of a scan."""


class NodeRow(NamedTuple):
    """A child or a tree, as it is on disk."""

    #: Its place among its siblings.
    place: int
    #: What the program has written down, without the children of a tree.
    spec: dict[str, Any]
    #: Of a child, the id of its task or actor; None if it has none that goes on.
    task: bytes | None = None
    #: What is to be done with it: see `Mark` of the supervisor.
    mark: str = ""
    #: Whether it has been started and has not ended since.
    alive: bool = False
    #: Whether it has begun, and has said that it is ready if it has to.
    up: bool = False
    restarts: int = 0
    #: (kind, reason, time) of its last exit.
    exit: tuple[str, str, float] | None = None
    #: Of a tree, why it ends or has ended: "stopped", "completed", "failed", or "" while it goes on.
    ending: str = ""
    #: Of a tree, the times of the restarts that count.
    window: tuple[float, ...] = ()
    #: Of a top tree, whether the app declares it.
    declared: bool = False

    def pack(self) -> bytes:
        packed: bytes = msgpack.packb(self)
        return packed

    @classmethod
    def unpack(cls, row: bytes) -> NodeRow:
        """A node; ValueError if the bytes are none."""
        try:
            node = cls(*msgpack.unpackb(row, use_list=False))
            if (
                type(node.place) is not int
                or type(node.spec) is not dict
                or type(node.spec["id"]) is not str
                or not (node.task is None or (type(node.task) is bytes and len(node.task) == ID_BYTES))
                or type(node.mark) is not str
            ):
                raise ValueError("a field of the wrong type")
        except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
            raise ValueError(f"not a node of a tree: {error}") from error
        return node

    @property
    def is_tree(self) -> bool:
        """Whether it has children."""
        return "strategy" in self.spec


def node_key(path: str) -> bytes:
    """The key of a node."""
    return NODE + path.encode()


def path_in(key: bytes) -> str:
    """The path in the key of a node."""
    return key[1:].decode()


def all_nodes() -> Range:
    """All nodes of all trees; a tree comes before what is in it."""
    return NODE, after_prefix(NODE)


def nodes_below(path: str) -> Range:
    """The nodes in this tree, without itself."""
    prefix = node_key(f"{path}/")
    return prefix, after_prefix(prefix)

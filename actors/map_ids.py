"""The ids of the children of a map: all begin with the base of the map, and end with the place of the item.

```
base (12 bytes): time of the map (6), version and variant of a UUIDv7 with 42 bits of a hash
place (4 bytes): from 0, big-endian
```

So each attempt at the parent gives the child of a place the same id, and the children of a map stand side by side in
the store, in the order of their places.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

#: Bytes of a base.
BASE_BYTES: Final = 12
#: Places that one map has.
PLACES: Final = 1 << 32
#: Children of one map that may be under way.
UNDER_WAY_LIMIT: Final = 10_000

_PLACE_BYTES: Final = 4


def map_base(made: bytes, parent: bytes) -> bytes:
    """The base of a map. `made` is an id that was made for it; the task `parent` goes into it, because a retry of that
    task by another one takes over its steps, and has children of its own."""
    own = bytearray(blake2b(made + parent, digest_size=BASE_BYTES - 6).digest())
    own[0] = 0x70 | own[0] & 0x0F
    own[2] = 0x80 | own[2] & 0x3F
    return made[:6] + bytes(own)


def child_id(base: bytes, place: int) -> bytes:
    """The id of the child at a place; OverflowError for one that no map has."""
    return base + place.to_bytes(_PLACE_BYTES, "big")


def base_in(id: bytes) -> bytes:
    """The base in the id of a child."""
    return id[:BASE_BYTES]


def children_of(base: bytes) -> tuple[bytes, bytes]:
    """The `start` and `stop` of a scan over the children of a map."""
    return base, base + b"\xff" * (_PLACE_BYTES + 1)

"""What a task publishes, on its way to the supervisor."""

from __future__ import annotations

from typing import Any, Final

import msgpack

from .. import values
from ..errors import InvalidOption

#: Bytes of the name of an item.
NAME_BYTES: Final = 200


def item_body(name: object, value: Any, at: float, limit: int, what: str = "value") -> bytes:
    """The end of an item's row: its time, its name and its encoded value.

    InvalidOption for what is no name; UnencodableValue and ValueTooLarge for the value.
    """
    check_item_name(name)
    packed = values.pack(value, what, limit)
    # Three fields without the head of their array: the row has others before them.
    body: bytes = msgpack.packb((at, name, packed))[1:]
    return body


def check_item_name(name: object) -> None:
    """InvalidOption if this is no name of an item."""
    if type(name) is str and 0 < len(name) <= NAME_BYTES:
        if name.isascii():
            return
        try:
            if len(name.encode()) <= NAME_BYTES:
                return
        except UnicodeEncodeError:
            pass
    raise InvalidOption(f"the name of an item is text of 1 to {NAME_BYTES} bytes in UTF-8, not {name!r:.80}")


def item_bodies(publish: Any, at: float, limit: int) -> list[bytes]:
    """The bodies of what `checkpoint(publish=…)` takes."""
    bodies = []
    for n, pair in enumerate(publish):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidOption(f"publish takes (name, value) for each item, not {pair!r:.80}")
        name, value = pair
        bodies.append(item_body(name, value, at, limit, f"publish[{n}]"))
    return bodies

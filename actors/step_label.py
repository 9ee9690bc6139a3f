"""The label of a step: by what it is known in all attempts at its task.

============================ ==================================================
label                        the step
============================ ==================================================
00, name, 00, number (4)     that call of this name, counted from 1
01, key                      the one with this key
============================ ==================================================

Texts are UTF-8.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from .errors import InvalidOption

NAME_BYTES: Final = 400
"""Longest name of a step, as UTF-8."""

KEY_BYTES: Final = 400
"""Longest key of a step, as UTF-8."""

STEPS_LIMIT: Final = 100_000
"""Steps that one task keeps."""

STEPS_BYTES: Final = 256 * 1024 * 1024
"""Bytes of their values."""

_CALL: Final = b"\x00"
_KEY: Final = b"\x01"
_NUMBER: Final = struct.Struct(">I")
#: From the end: where the zero before the number is.
_NUMBER_AT: Final = -_NUMBER.size - 1

LABEL_BYTES: Final = 1 + NAME_BYTES + 1 + _NUMBER.size
"""Longest label."""


class Known(NamedTuple):
    """By what a step is known: its name and the number of the call, or its key."""

    name: str | None
    number: int | None
    key: str | None


def checked_name(name: object) -> bytes:
    """A name of a step as UTF-8; InvalidOption for what is none."""
    encoded = _text("the name of a step", name, NAME_BYTES)
    if b"\0" in encoded:
        raise InvalidOption(f"the name of a step must not contain NUL: {name!r:.80}")
    return encoded


def call_label(name: bytes, number: int) -> bytes:
    """The label of that call of a name, from 1."""
    return _CALL + name + b"\0" + _NUMBER.pack(number)


def key_label(key: object) -> bytes:
    """The label of the step with a key; InvalidOption for what is no key."""
    return _KEY + _text("the key of a step", key, KEY_BYTES)


def has_key(label: bytes) -> bool:
    """Whether it is the label of a step with a key."""
    return label[:1] == _KEY


def unpack_label(label: bytes) -> Known:
    """By what the step is known; ValueError for what is no label."""
    if label[:1] == _KEY and len(label) > 1:
        return Known(None, None, label[1:].decode())
    # The bytes of the number may be zero, too.
    name, separator, number = label[1:_NUMBER_AT], label[_NUMBER_AT : -_NUMBER.size], label[-_NUMBER.size :]
    if label[:1] != _CALL or not name or separator != b"\0" or b"\0" in name:
        raise ValueError("not the label of a step")
    return Known(name.decode(), _NUMBER.unpack(number)[0], None)


def _text(what: str, text: object, most: int) -> bytes:
    """The UTF-8 of a text; InvalidOption for anything else, and if its length is out of range."""
    if not isinstance(text, str):
        raise InvalidOption(f"{what} must be text, not {text!r:.80}")
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidOption(f"{what} must be text that can be written as UTF-8: {text!r:.80}") from error
    if not 1 <= len(encoded) <= most:
        raise InvalidOption(f"{what} must have 1 to {most} bytes as UTF-8, not {len(encoded)}: {text!r:.80}")
    return encoded

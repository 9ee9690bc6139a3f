"""Conversion of messages to Python values: JSON objects and arrays become dicts and lists, other text str."""

from __future__ import annotations

import json
from typing import Any, Final

from ..errors import UnencodableValue

Message = str | bytes
"""A whole message as received: text or binary."""

_dumps: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_loads: Final = json.JSONDecoder().decode


def encode(data: Any) -> tuple[bytes, bool]:
    """(payload, whether it is text).

    Raises UnencodableValue with the path to the value that cannot be sent.
    """
    if isinstance(data, str):
        return _utf8(data), True
    if isinstance(data, bytes):
        return data, False
    if isinstance(data, dict | list):
        try:
            return _utf8(_dumps(data)), True
        except (TypeError, ValueError, RecursionError) as error:
            if isinstance(error, UnencodableValue):
                raise
            path = _culprit(data, "data", set()) or "data"
            raise UnencodableValue(f"{path} cannot be written as JSON: {error}", path) from error
    if isinstance(data, bytearray | memoryview):
        return bytes(data), False
    raise UnencodableValue(
        f"a WebSocket carries dict and list (as JSON), str (as text) and bytes, not {type(data).__qualname__}",
        "data",
    )


def decode(message: Message) -> Any:
    """The inverse of `encode`. Only JSON objects and arrays are parsed."""
    if message.__class__ is str and message[:1] in ("{", "[", " ", "\n", "\t", "\r"):
        try:
            value = _loads(message)
        except (ValueError, RecursionError):
            return message
        # A number between blanks stays text, like any other number.
        return value if isinstance(value, dict | list) else message
    return message


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnencodableValue(f"data cannot be written as UTF-8: {error}", "data") from error


def _culprit(value: Any, path: str, above: set[int]) -> str | None:
    """The path to the first part of the value that JSON cannot represent."""
    if isinstance(value, dict | list | tuple):
        if id(value) in above:
            return path
        inside = {*above, id(value)}
        if isinstance(value, dict):
            odd = [key for key in value if not isinstance(key, str | int | float | bool | None)]
            if odd:
                return f"{path}[{odd[0]!r:.80}]"
            places = [(f"{path}[{key!r:.80}]", item) for key, item in value.items()]
        else:
            places = [(f"{path}[{n}]", item) for n, item in enumerate(value)]
        if len(inside) > 100:
            return path
        return next((found for place, item in places if (found := _culprit(item, place, inside))), None)
    try:
        _dumps(value)
    except (TypeError, ValueError):
        return path
    return None

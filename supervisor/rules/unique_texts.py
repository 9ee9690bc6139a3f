"""The key of a unique task: a text that its arguments make, from their encoded form and without its code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack

from .argument_keys import DEFAULT

#: Characters of a key that are kept; a longer one ends with a hash of all of it.
KEY_CHARACTERS: Final = 200
#: The codes of sets, whose elements have no order.
_SETS: Final = (6, 7)
#: The kinds of parameters that an argument may be passed to by its place.
_BY_PLACE: Final = (0, 1)
_VARIADIC: Final = (2, 4)

Row = Sequence[Any]
"""One of `actors/task/parameters.py`: name, kind, and whether it has a default."""


def key_of(packed: bytes | None, rows: Iterable[Row] | None, names: Sequence[str] | None) -> str:
    """The key that these parameters make, or all of them for None.

    An argument makes the same key by its place and by its name. Values are equal if they are of the same type. The key
    is the JSON of one value, or of several in brackets. Without the function's parameters, in `rows`, arguments are
    known by their places alone.
    """
    if names is not None and not names:
        return ""
    try:
        args, kwargs = ((), {}) if packed is None else _unpacked(packed)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        # A key of a dict that only Python can have. Calls that differ must not get the same key, so all of it counts.
        return _digest(packed or b"")
    known = [(name, kind) for name, kind, _ in rows or () if kind not in _VARIADIC]
    by_place = [name for name, kind in known if kind in _BY_PLACE]
    given = {**kwargs, **dict(zip(by_place, args, strict=False))}
    if names is not None:
        texts = [_text_in(given, name) for name in names]
    else:
        own = [name for name, _ in known]
        texts = [_text_in(given, name) for name in own]
        texts += [f"*{_text(value)}" for value in args[len(by_place) :]]
        texts += [f"{name}={_text(given[name])}" for name in sorted(given.keys() - set(own))]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]" if texts else ""
    if len(text) <= KEY_CHARACTERS:
        return text
    return f"{text[:KEY_CHARACTERS]}…{_digest(text.encode(errors='surrogatepass'))}"


def _unpacked(packed: bytes) -> tuple[Sequence[Any], dict[str, Any]]:
    args, kwargs = msgpack.unpackb(packed, ext_hook=_extended, strict_map_key=False)
    return args, kwargs


def _extended(code: int, data: bytes) -> dict[str, Any]:
    """A value that is no plain data, as JSON can have it."""
    if code in _SETS:
        elements = msgpack.unpackb(data, ext_hook=_extended, strict_map_key=False)
        return {"$set": sorted(map(_text, elements))}
    return {"$type": code, "bytes": data.hex()}


def _text_in(given: dict[str, Any], name: str) -> str:
    return _text(given[name]) if name in given else DEFAULT


def _text(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_bytes)
    except (TypeError, ValueError):
        # Keys of a dict that have no order, or that JSON cannot have.
        return _digest(repr(value).encode(errors="surrogatepass"))


def _bytes(value: bytes) -> dict[str, str]:
    return {"$bytes": value.hex()}


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()

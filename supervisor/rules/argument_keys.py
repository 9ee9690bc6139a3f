"""The key that some of a task's arguments make, from its encoded arguments and without its code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack

#: Characters of a key that are kept; a longer one ends with a hash of all of it.
KEY_CHARACTERS: Final = 200
#: Stands for the argument that a call leaves out.
DEFAULT: Final = "…"
_VARIADIC: Final = (2, 4)
_KEYWORD_ONLY: Final = 3

Places = tuple[tuple[str, int], ...]
"""The name of each parameter, and its place among positional arguments or a number behind all of them."""


def places_of(names: Iterable[str], rows: Iterable[Sequence[Any]] | None) -> Places:
    """Where these parameters are. `rows` are those of `actors/task/parameters.py`."""
    found: dict[str, int] = {}
    for number, (name, kind, _) in enumerate(rows or ()):
        if kind not in _VARIADIC:
            found[name] = 1 << 30 if kind == _KEYWORD_ONLY else number
    return tuple((name, found.get(name, 1 << 30)) for name in names)


def key_of(packed: bytes | None, places: Places) -> str:
    """The key: the text of the value, or a JSON array of several of them. Equal texts are equal keys."""
    args, kwargs = _unpacked(packed)
    if len(places) == 1:
        name, place = places[0]
        value = args[place] if place < len(args) else kwargs.get(name, DEFAULT)
        text = value if type(value) is str else _text(value)
        return text if len(text) <= KEY_CHARACTERS else _shortened(text)
    values = [args[place] if place < len(args) else kwargs.get(name, DEFAULT) for name, place in places]
    text = json.dumps(list(map(_text, values)), ensure_ascii=False)
    return text if len(text) <= KEY_CHARACTERS else _shortened(text)


def _shortened(text: str) -> str:
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{text[:KEY_CHARACTERS]}…{digest}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError):
        return hashlib.blake2b(msgpack.packb(value), digest_size=16).hexdigest()


def _unpacked(packed: bytes | None) -> tuple[Sequence[Any], dict[Any, Any]]:
    if packed is None:
        return (), {}
    try:
        args, kwargs = msgpack.unpackb(packed, strict_map_key=False)
        return args, kwargs
    except (ValueError, TypeError, msgpack.UnpackException):
        # What its worker cannot read either.
        return (), {}

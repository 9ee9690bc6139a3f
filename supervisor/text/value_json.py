"""Values as JSON text.

One table says how types unknown to JSON are rendered; docs/cli.md holds the same table.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from ...actors import values
from ...actors.ids import id_text
from ...actors.task.handles import TaskInfo
from . import escape

RENDERINGS: Final = {
    "datetime, date, time": "ISO 8601 text",
    "timedelta": "seconds, a number",
    "Decimal, UUID": "their text",
    "tuple": "an array",
    "set, frozenset": "an array, sorted",
    "bytes": '`{"$bytes": "…"}`, in base64',
    "NaN and the infinities": '`"NaN"`, `"Infinity"`, `"-Infinity"`',
    "a `TaskInfo`": "its id",
    "an `ActorRef`": "`module:Class/name`; the id if it has no name",
    "a key that is not text": "its JSON text; if two keys become the same, the mapping becomes an array of pairs",
    "a registered type": '`{"$type": "name", "value": …}`: the command line does not load the app',
}


def as_table() -> str:
    """The renderings as a Markdown table; docs/cli.md holds exactly this text."""
    rows = [f"| {what} | {how} |" for what, how in RENDERINGS.items()]
    return "\n".join(["| value | in JSON |", "| --- | --- |", *rows])


def unpack(packed: bytes | None) -> Any:
    """A stored value for `dumps`; those of types that this process does not know are `Foreign`. Raises InvalidValue."""
    if packed is None:
        return None
    return values.unpack_foreign(packed)


def dumps(value: Any, *, indent: bool = False) -> str:
    """JSON text of printable characters only; on one line unless `indent`."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=2 if indent else None, allow_nan=False)
    return escape.in_json(text)


def plain(value: Any) -> Any:
    """The value in JSON's own types.

    Takes one stack frame for each level, so that the deepest stored value fits.
    """
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        pairs = []
        for key, item in value.items():
            pairs.append((key if isinstance(key, str) else _key(key), plain(item)))
        return _mapping(value, pairs)
    if isinstance(value, list | tuple | set | frozenset):
        items = []
        for item in value:
            items.append(plain(item))  # noqa: PERF401 - a comprehension is a second frame
        return sorted(items, key=_order) if isinstance(value, set | frozenset) else items
    return _special(value)


def _mapping(value: dict[Any, Any], pairs: list[tuple[str, Any]]) -> Any:
    mapping = dict(pairs)
    if len(mapping) == len(pairs):
        return mapping
    return [[plain(key), item] for key, (_, item) in zip(value, pairs, strict=True)]


def _key(key: Any) -> str:
    rendered = plain(key)
    return rendered if isinstance(rendered, str) else json.dumps(rendered, ensure_ascii=False)


def _order(item: Any) -> tuple[str, Any, str]:
    """Sort key with the same order in every run: numbers by size, other items by their JSON text."""
    if isinstance(item, int | float):
        return "", item, ""
    return type(item).__name__, 0, json.dumps(item, ensure_ascii=False, sort_keys=True)


def _special(value: Any) -> Any:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return {"$bytes": b64encode(value).decode("ascii")}
        case TaskInfo():
            return value.id
    foreign = value if isinstance(value, values.Foreign) else values.as_foreign(value)
    match foreign:
        case None:
            return {"$type": type(value).__qualname__, "value": repr(value)}
        case values.Foreign(
            name="understudy.ActorRef", value=[bytes(id), str(class_name), str() | None as name]
        ):
            return f"{class_name}/{name}" if name is not None else id_text(id)
    return {"$type": foreign.name, "value": plain(foreign.value)}

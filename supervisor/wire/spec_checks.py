"""Checks of the specs of supervision trees that a client sends. Pure."""

from __future__ import annotations

from typing import Any, Final

from ...actors.errors import InvalidValue
from ...actors.trees.child import RESTARTS, check_id
from ...actors.trees.supervisor import AUTO_SHUTDOWNS, DEPTH_LIMIT, STRATEGIES

_SECONDS: Final = (int, float)
_CHILD: Final = frozenset(
    ["id", "task", "args", "options", "restart", "shutdown", "ready", "start_timeout", "fresh", "significant"]
)
_TREE: Final = frozenset(
    [
        "id",
        "strategy",
        "intensity",
        "period",
        "auto_shutdown",
        "backoff",
        "restart",
        "significant",
        "children",
    ]
)


def check_spec(packed: Any, depth: int = 1) -> None:
    """InvalidValue or InvalidOption if this is no packed `Supervisor` or `ChildSpec`."""
    if type(packed) is not dict or packed.keys() not in (_CHILD, _TREE) or depth > DEPTH_LIMIT + 1:
        raise InvalidValue(f"not the spec of a supervision tree: {packed!r:.200}")
    check_id(packed["id"], "a child")
    sound = packed["restart"] in RESTARTS and type(packed["significant"]) is bool
    if packed.keys() == _CHILD:
        sound = (
            sound
            and type(packed["task"]) is str
            and (packed["args"] is None or type(packed["args"]) is bytes)
            and (packed["options"] is None or type(packed["options"]) is dict)
            and (packed["shutdown"] is None or _is_seconds(packed["shutdown"]))
            and _is_seconds(packed["start_timeout"])
            and type(packed["ready"]) is type(packed["fresh"]) is bool
        )
    else:
        sound = (
            sound
            and packed["strategy"] in STRATEGIES
            and packed["auto_shutdown"] in AUTO_SHUTDOWNS
            and type(packed["intensity"]) is int
            and _is_seconds(packed["period"])
            and (packed["backoff"] is None or type(packed["backoff"]) in (list, tuple))
            and type(packed["children"]) in (list, tuple)
        )
    if not sound:
        raise InvalidValue(f"not the spec of a supervision tree: {packed!r:.200}")
    if packed.keys() == _TREE:
        for each in packed["children"]:
            check_spec(each, depth + 1)
        if len({each["id"] for each in packed["children"]}) < len(packed["children"]):
            raise InvalidValue(f"two children of {packed['id']} have the same id")


def _is_seconds(value: Any) -> bool:
    return type(value) in _SECONDS and value >= 0

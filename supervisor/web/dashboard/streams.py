"""Streams: what followed from what, as a tree over time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

from .page import Asked, Page

LISTED: Final = 50
NODES: Final = 500


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the tree: its depth, and its place in a drawing of 1000 by 14."""

    node: Any
    depth: int
    wait: tuple[float, float]
    run: tuple[float, float]


def page(asked: Asked) -> Page:
    """The streams to which something was added last."""
    found = asked.runtime.streams(limit=LISTED, before=asked.text("before") or None)
    return Page("streams.html", "Streams", {"streams": found, "first": not asked.text("before")})


def one(asked: Asked) -> Page:
    """One stream."""
    id = asked.path["id"]
    stream = asked.runtime.stream(id, limit=NODES)
    now = time.time()
    nodes = list(stream.walk())
    begin = min((node.time for _, node in nodes), default=now)
    end = max((_end(node, now) for _, node in nodes), default=now)
    length = max(end - begin, 1e-3)

    def place(start: float, stop: float) -> tuple[float, float]:
        return round((start - begin) / length * 1000, 2), round(max((stop - start) / length * 1000, 0), 2)

    branches = []
    for depth, node in nodes:
        started = node.started if node.started is not None else _end(node, now)
        branches.append(
            Branch(node, min(depth, 12), place(node.time, started), place(started, _end(node, now)))
        )
    return Page(
        "stream.html",
        "Stream",
        {"id": id, "branches": branches, "more": stream.more, "begin": begin, "length": length},
    )


def _end(node: Any, now: float) -> float:
    if node.state is None:
        return float(node.time)
    return float(node.ended if node.ended is not None else max(now, node.started or node.time))

"""Failures by their cause, with the course of each, and a retry of a whole group."""

from __future__ import annotations

from typing import Final

from ....actors.task.outcomes import ErrorGroup
from .overview import WINDOWS, quote
from .page import Asked, Page

GROUPS: Final = 100
POINTS: Final = 8
"""Bars of a group's course."""


def page(asked: Asked) -> Page:
    """The groups of the window in the address."""
    window = asked.text("window", "1d")
    if window not in WINDOWS:
        window = "1d"
    seconds = float(WINDOWS[window][0])
    name = asked.text("task") or None
    groups = asked.runtime.errors(seconds, task=name, limit=GROUPS)
    return Page(
        "errors.html",
        "Errors",
        {
            "window": window,
            "windows": list(WINDOWS),
            "groups": groups,
            "trends": trends(asked, seconds, name) if groups else {},
            "query_of": query_of,
            "task_name": name or "",
        },
    )


def trends(asked: Asked, seconds: float, task: str | None) -> dict[str, list[float]]:
    """By fingerprint: heights, from 0 to 1, of the failures in each eighth of the window, oldest first."""
    sums: list[dict[str, int]] = []
    for part in range(1, POINTS + 1):
        groups = asked.runtime.errors(max(seconds * part / POINTS, 10.0), task=task, limit=1000)
        sums.append({group.fingerprint: group.count for group in groups})
    courses: dict[str, list[float]] = {}
    for fingerprint in sums[-1]:
        whole = [each.get(fingerprint, 0) for each in sums]
        bars = [max(now - before, 0) for before, now in zip([0, *whole], whole, strict=False)][::-1]
        most = max(bars) or 1
        courses[fingerprint] = [bar / most for bar in bars]
    return courses


def query_of(group: ErrorGroup, window: str) -> str:
    """The query that finds the tasks of a group."""
    return f"task:{quote(group.task)} cause:{group.fingerprint} ended:{window}"

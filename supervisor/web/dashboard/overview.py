"""The first page: how many tasks there are, what has ended, what waits, what fails, and who works."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ....actors.state import State
from ...client.store_look import Bar, Start
from .page import Asked, Page, tree_of
from .system import usage_of

WINDOWS: Final = {
    "10m": (600, 10),
    "1h": (3_600, 60),
    "6h": (6 * 3_600, 300),
    "1d": (86_400, 1_200),
    "7d": (7 * 86_400, 3 * 3_600),
    "30d": (30 * 86_400, 12 * 3_600),
}
"""By name: seconds, and seconds of a bar."""

_GREW: Final = 3600.0
_SHOWN: Final = 8

MANY: Final = 1_000
"""Queued tasks of a name of which the oldest one is looked for at the front of the queues."""


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest queued task of a name."""

    task: str
    count: int
    id: str | None
    created: float | None


def page(asked: Asked) -> Page:
    """The overview, over the window in the address."""
    runtime = asked.runtime
    window = asked.text("window", "1h")
    if window not in WINDOWS:
        window = "1h"
    seconds, width = WINDOWS[window]
    now = time.time()
    counts = runtime.counts()
    totals = {state: sum(each.get(state, 0) for each in counts.values()) for state in State}
    stats = runtime.stats(seconds)
    bars = asked.look.bars(now - seconds, now, width)
    tree, why = tree_of(asked)
    starts = asked.look.starts(now - seconds)
    return Page(
        "overview.html",
        "Overview",
        {
            "window": window,
            "windows": list(WINDOWS),
            "totals": totals,
            "stats": stats,
            "busiest": sorted(stats.tasks.items(), key=lambda each: -sum(each[1].ended.values()))[:_SHOWN],
            "bars": bars,
            "chart": chart_of(bars, width, starts),
            "drawn": drawing_of(bars, width, starts),
            "starts": starts,
            "oldest": _oldest(asked, counts),
            "grew": grown(asked),
            "tree": tree,
            "why": why,
            "usage": usage_of(tree),
            "size": asked.look.size(),
            "now": now,
        },
    )


def chart_of(bars: list[Bar], width: int, starts: Sequence[Start]) -> dict[str, Any]:
    """What the browser draws: times, rates of ends and of failures, and marks for starts and deploys."""
    failed = [bar.ended[State.FAILED] + bar.ended[State.TIMED_OUT] for bar in bars]
    first = bars[0].start if bars else 0
    return {
        "x": [bar.start for bar in bars],
        "done": [round((bar.total - bad) / width, 4) for bar, bad in zip(bars, failed, strict=True)],
        "failed": [round(bad / width, 4) for bad in failed],
        "marks": [[round(start.time), start.is_deploy] for start in starts if start.time >= first],
    }


def drawing_of(bars: list[Bar], width: int, starts: Sequence[Start]) -> dict[str, Any]:
    """The same as bars of an inline drawing, for browsers without JavaScript: places and heights, of 1000 by 100."""
    first = bars[0].start if bars else 0.0
    whole_time = max(len(bars), 1) * width
    most = max((bar.total for bar in bars), default=0) or 1
    step = 1000 / max(len(bars), 1)
    drawn = []
    for number, bar in enumerate(bars):
        bad = bar.ended[State.FAILED] + bar.ended[State.TIMED_OUT]
        whole, part = bar.total * 96 / most, bad * 96 / most
        drawn.append(
            {
                "x": round(number * step, 2),
                "good": (round(100 - whole, 2), round(whole - part, 2)),
                "bad": (round(100 - part, 2), round(part, 2)),
                "bar": bar,
            }
        )
    marks = [
        (round((start.time - first) / whole_time * 1000, 2), start.is_deploy)
        for start in starts
        if first <= start.time <= first + whole_time
    ]
    return {"marks": marks, "bars": drawn, "width": round(max(step - 1.5, 0.5), 2), "most": most}


def _oldest(asked: Asked, counts: dict[str, dict[State, int]]) -> list[Oldest]:
    queued = sorted(
        ((each[State.QUEUED], name) for name, each in counts.items() if each.get(State.QUEUED)), reverse=True
    )[:_SHOWN]
    found = []
    # Names with many queued tasks are not read to their end.
    many = [name for count, name in queued if count > MANY]
    ready = asked.look.oldest_ready(many) if many else {}
    for count, name in queued:
        if count > MANY:
            found.append(Oldest(name, count, *ready.get(name, (None, None))))
            continue
        # The last one of the newest first.
        records = asked.runtime.search(f"state:queued task:{quote(name)}", limit=MANY)
        oldest = records[-1] if records else None
        found.append(Oldest(name, count, *((oldest.id, oldest.created) if oldest else (None, None))))
    return found


def grown(asked: Asked) -> list[tuple[Any, int]]:
    """Causes of failures that came more often in the last hour than in the hour before, with that number."""
    last = asked.runtime.errors(_GREW, limit=200)
    both = {group.fingerprint: group.count for group in asked.runtime.errors(2 * _GREW, limit=1000)}
    found = [(group, both.get(group.fingerprint, group.count) - group.count) for group in last]
    return [(group, before) for group, before in found if group.count > before][:_SHOWN]


def quote(text: str) -> str:
    """A value of a query that fits this text alone."""
    mark = "'" if "'" not in text else '"'
    return f"{mark}{text}{mark}"

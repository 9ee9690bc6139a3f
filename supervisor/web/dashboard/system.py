"""The processes: supervisor, workers and their pools, actors in memory, containers, and the size of the store."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import psutil

from ....actors.errors import UnderstudyError
from ....actors.state import State
from .page import ANSWER, Asked, Page, tree_of

CONTAINERS: Final = 50
ACTORS: Final = 100


@dataclass(slots=True)
class Usage:
    """What a process and its descendants use."""

    cpu: float = 0.0
    """Per cent of one processor since the look before."""
    rss: int = 0
    processes: int = 0


#: The processes that were looked at last: the use of a processor is measured from one look to the next.
_known: dict[int, psutil.Process] = {}


def usage_of(tree: dict[str, Any] | None) -> dict[int, Usage]:
    """By pid; of a worker, together with the processes that its tasks have started."""
    found: dict[int, Usage] = {}
    if tree is None:
        return found
    seen: dict[int, psutil.Process] = {}
    alone = [tree["pid"], *([tree["fork_server"]] if tree["fork_server"] else [])]
    for pid in alone:
        found[pid] = _sum([pid], seen)
    for worker in tree["workers"]:
        if pid := worker["pid"]:
            found[pid] = _sum([pid, *_descendants(pid)], seen)
    _known.clear()
    _known.update(seen)
    return found


def _sum(pids: list[int], seen: dict[int, psutil.Process]) -> Usage:
    usage = Usage()
    for pid in pids:
        with suppress(psutil.Error):
            process = _known.get(pid) or psutil.Process(pid)
            usage.cpu += process.cpu_percent(None)
            usage.rss += process.memory_info().rss
            usage.processes += 1
            seen[pid] = process
    return usage


def _descendants(pid: int) -> list[int]:
    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


def page(asked: Asked) -> Page:
    """The processes, actors and containers."""
    tree, why = tree_of(asked)
    runtime = asked.runtime
    actors = runtime.search("state:idle", limit=ACTORS)
    boxes = [
        record
        for record in runtime.search("state:running,queued task:*box*", limit=CONTAINERS)
        if record.waits_for == "container" or "box" in record.task.casefold()
    ]
    counts = runtime.counts()
    pools: list[Any] = []
    if tree is not None:
        with suppress(UnderstudyError, TimeoutError):
            pools = runtime.pools(timeout=ANSWER)
    return Page(
        "system.html",
        "System",
        {
            "tree": tree,
            "why": why,
            "usage": usage_of(tree),
            "pools": pools,
            "actors": actors,
            "actor_count": sum(each.get(State.IDLE, 0) for each in counts.values()),
            "boxes": boxes,
            "size": asked.look.size(),
            "commit": asked.look.newest(),
            "records": sum(sum(each.values()) for each in counts.values()),
            "home": runtime.home,
        },
    )

"""Class actors by the thousand: started together, and passive again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from understudy import Actor, ActorRef, AsyncRuntime, Runtime, get_all

A = TypeVar("A", bound=Actor)
R = TypeVar("R")

IDLE: Final = 0.1
"""The `idle` of actors that are to become passive."""

#: Starts and asks under way at once.
AT_ONCE: Final = 500


def start(runtime: Runtime, home: Path, cls: type[A], count: int, *args: Any) -> list[ActorRef[A]]:
    """Start actors with the names "0", "1" and so on, and wait until all are on disk."""

    async def all_of_them() -> None:
        async with AsyncRuntime.connect(home) as client:
            for first in range(0, count, AT_ONCE):
                names = range(first, min(first + AT_ONCE, count))
                await asyncio.gather(*(client.actor(cls, str(n), *args) for n in names))

    asyncio.run(all_of_them())
    refs = runtime.actors(cls, limit=None)
    assert len(refs) == count, f"{len(refs)} of {count} actors"
    return refs


def ask_each(refs: Sequence[ActorRef[A]], method: Callable[[A], R]) -> list[R]:
    """The answers of all of them, a few at a time."""
    answers: list[R] = []
    for first in range(0, len(refs), AT_ONCE):
        answers += get_all([ref.submit(method) for ref in refs[first : first + AT_ONCE]])
    return answers


def wait_until_passive() -> None:
    """Wait until actors with IDLE have left memory. A case checks by its answers that they had."""
    time.sleep(IDLE + 0.6)

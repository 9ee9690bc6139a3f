"""A day's mix in small: short tasks, sync and async, failures, state, messages, logs, and waiting tasks."""

from __future__ import annotations

import random
import time
from typing import Any

from understudy import Retry, aio, checkpoint, progress, receive, restore, task

#: Seconds that an ended task is kept, so that pruning keeps up with the load.
KEEP = 30.0


@task(keep=KEEP)
def add(one: int, two: int) -> int:
    return one + two


@task(keep=KEEP)
async def breathe(seconds: float) -> float:
    await aio.sleep(seconds)
    return seconds


@task(keep=KEEP, retry=Retry(2, 0.05))
def stumble() -> None:
    if random.random() < 0.5:
        raise ValueError("not this time")


@task(keep=KEEP)
def talk(lines: int) -> None:
    for number in range(lines):
        print("line", number, "x" * random.randrange(80))
        progress(number, lines)


@task(keep=KEEP)
def carry(data: bytes) -> bytes:
    time.sleep(random.uniform(0, 0.002))
    return data[::-1]


@task(keep=KEEP, ack="checkpoint")
def tally() -> Any:
    """An actor with state, until its mailbox is closed."""
    state = restore() or {"count": 0, "sum": 0}
    while (message := receive()) is not None:
        state["count"] += 1
        state["sum"] += message
        if state["count"] % 5 == 0:
            checkpoint(state)
    return state


@task(keep=KEEP)
def wait_for_word() -> Any:
    return receive()

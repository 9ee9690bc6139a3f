"""Tasks that wait in all the ways there are, for tests that set the clock."""

from __future__ import annotations

import time

from understudy import RetryLater, aio, current, receive, sleep, task


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def total() -> int:
    """The sum of its messages until its mailbox is closed."""
    amount = 0
    while isinstance(message := receive(), int):
        amount += message
    return amount


@task
def naps(seconds: float) -> float:
    """How long it slept, by the clock that nobody sets."""
    begin = time.monotonic()
    sleep(seconds)
    return time.monotonic() - begin


@task
async def naps_async(seconds: float) -> float:
    begin = time.monotonic()
    await aio.sleep(seconds)
    return time.monotonic() - begin


@task
def fails_once() -> str:
    if current().attempt == 1:
        raise RetryLater(0.2)
    return "at last"

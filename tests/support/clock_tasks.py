"""Tasks that wait in every possible way, for tests that set the clock."""

from __future__ import annotations

import time
from pathlib import Path

from understudy import RetryLater, aio, cancelled, current, receive, sleep, task


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
    """How long it slept, by the clock that cannot be set."""
    begin = time.monotonic()
    sleep(seconds)
    return time.monotonic() - begin


@task
async def naps_async(seconds: float) -> float:
    begin = time.monotonic()
    await aio.sleep(seconds)
    return time.monotonic() - begin


@task
def fails_once(delay: float = 0.2) -> str:
    if current().attempt == 1:
        raise RetryLater(delay)
    return "at last"


@task
async def total_async() -> int:
    amount = 0
    while isinstance(message := await aio.receive(), int):
        amount += message
    return amount


@task
def listens(seconds: float) -> str:
    """Whether a message arrived in time."""
    try:
        return str(receive(timeout=seconds))
    except TimeoutError:
        return "nothing"


@task
def winds_up(go: str) -> str:
    """After a cancel, continues until that file exists."""
    while not cancelled():
        time.sleep(0.005)
    Path(f"{go}.cancelled").touch()
    while not Path(go).exists():
        time.sleep(0.005)
    return "wound up"

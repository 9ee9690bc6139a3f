"""What runs while the storm rages: every kind of task, each of which leaves a trace of what it was told is on disk.

The traces are appended to shared files with one write each. That survives the death of the process that wrote, which
is all a storm does; the order of the lines in a file is the order of what they tell.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from understudy import Retry, aio, cancelled, checkpoint, current, receive, restore, sleep, task
from understudy.actors import ambient

#: A worker that is killed from outside is blamed on the task that works there alone: it has retries enough for that.
AGAIN = Retry(1_000_000, 0)
#: Where the storm keeps its files.
FOLDER = Path(os.environ.get("UNDERSTUDY_STORM_FOLDER", "."))


def trace(kind: str, *row: Any) -> None:
    """One line in the journal of this kind."""
    descriptor = os.open(
        FOLDER / f"{kind}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    try:
        os.write(descriptor, json.dumps(row).encode() + b"\n")
    finally:
        os.close(descriptor)


@contextmanager
def on_stage() -> Iterator[None]:
    """Notes that this attempt begins, and that no other one at the same task is under way anywhere."""
    here = current()
    lock = os.open(FOLDER / "locks" / here.id, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            trace("wrong", f"task {here.id} runs twice at once", here.attempt, here.interruptions)
        trace("run", here.id, here.attempt, here.interruptions, os.getppid(), os.getpid())
        yield
    finally:
        os.close(lock)


def work(most: float = 0.004) -> None:
    """A moment of work, so that there is something to be killed in."""
    time.sleep(random.uniform(0, most))


@task(retry=AGAIN)
def double(number: int) -> int:
    with on_stage():
        return 2 * number


@task(retry=AGAIN)
async def double_async(number: int) -> int:
    with on_stage():
        await aio.sleep(random.uniform(0, 0.002))
        return 2 * number


@task(retry=AGAIN, isolate=True)
def double_alone(number: int) -> int:
    with on_stage():
        return 2 * number


@task(retry=AGAIN)
def steps(count: int) -> int:
    """Counts, with a checkpoint for each number."""
    with on_stage():
        done = restore() or 0
        trace("found", current().id, done)
        while done < count:
            work()
            done += 1
            checkpoint(done)
            trace("saved", current().id, done)
        return done


@task(retry=AGAIN, ack="checkpoint")
def collect() -> list[Any]:
    """Keeps every message, with a checkpoint after each few."""
    with on_stage():
        state = restore() or []
        while (message := receive()) is not None:
            if isinstance(message, dict):
                break
            state.append(message)
            if random.random() < 0.6:
                checkpoint(state)
            work(0.001)
        return state


@task(retry=AGAIN, ack="checkpoint")
async def collect_async() -> list[Any]:
    with on_stage():
        state = await aio.restore() or []
        while (message := await aio.receive()) is not None:
            state.append(message)
            await aio.checkpoint(state)
        return state


@task(retry=Retry(1_000_000, 0.1), ack="checkpoint")
def relay(to: str) -> list[Any]:
    """Passes every message on, exactly once."""
    with on_stage():
        state = restore() or []
        while (message := receive()) is not None:
            if isinstance(message, dict):
                break
            state.append(message)
            checkpoint(state, send=[(to, message)])
            work(0.001)
        return state


@task(retry=AGAIN)
def listen() -> int:
    """Keeps no state: what it hears it hears at least once, and in order."""
    heard = 0
    with on_stage():
        while (message := receive()) is not None:
            if isinstance(message, dict):
                break
            trace("heard", current().id, message)
            heard += 1
    return heard


@task(retry=Retry(1_000_000, 0.02))
def falter(times: int) -> int:
    """Fails in its first attempts."""
    with on_stage():
        if current().attempt <= times:
            raise ValueError("not yet")
        return current().attempt


@task(retry=AGAIN)
def parent(count: int) -> int:
    """Starts children, each under a key of its own, and waits for them."""
    with on_stage():
        rt = ambient.runtime()
        names = [f"{current().id}/{number}" for number in range(count)]
        children = [rt.start(double.options(key=name), number) for number, name in enumerate(names)]
        for name, child in zip(names, children, strict=True):
            trace("child", name, child.id)
        return sum(child.result(120) for child in children)


@task(retry=AGAIN)
def rest() -> bool:
    with on_stage():
        return sleep(3600)


@task(retry=AGAIN)
async def rest_async() -> bool:
    with on_stage():
        return await aio.sleep(3600)


@task(retry=AGAIN, grace=30)
def toil() -> str:
    """Works until it is asked to stop, or has worked enough: it keeps a slot from others."""
    with on_stage():
        end = time.monotonic() + 0.5
        while not cancelled() and time.monotonic() < end:
            time.sleep(0.002)
        return "stopped"


@task(timeout=0.2, grace=0.1)
def stubborn() -> None:
    """Has to be killed."""
    with on_stage():
        while True:
            time.sleep(1)

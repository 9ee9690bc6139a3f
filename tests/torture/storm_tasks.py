"""The tasks of a storm, of every kind. The app of its supervisors."""

from __future__ import annotations

import random
import time
from typing import Any

import storm_actors  # noqa: F401 - its classes and tasks are the app's, too
import storm_events  # noqa: F401 - as above
import storm_gates  # noqa: F401 - as above
import storm_sessions  # noqa: F401 - as above
import storm_ties  # noqa: F401 - as above
import storm_trees  # noqa: F401 - as above
from storm_journal import AGAIN, on_stage, trace
from understudy import Retry, aio, cancelled, checkpoint, current, receive, restore, sleep, task
from understudy.actors.task import current_runtime


def work(most: float = 0.004) -> None:
    """A short piece of work, during which it can be killed."""
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
    """Keeps every message, with a checkpoint after every few messages."""
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
    """Has no state: it receives each message at least once, and in order."""
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
    """Starts children, each with its own key, and waits for them."""
    with on_stage():
        rt = current_runtime.runtime()
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
    """Works until it is asked to stop, or for a maximum time: it keeps a slot from others."""
    with on_stage():
        end = time.monotonic() + 0.5
        while not cancelled() and time.monotonic() < end:
            time.sleep(0.002)
        return "stopped"


@task(timeout=0.2, grace=0.1)
def stubborn() -> None:
    """Ends only by a kill."""
    with on_stage():
        while True:
            time.sleep(1)

"""Tasks for the scenarios of long lives."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from understudy import Retry, aio, checkpoint, current, receive, restore, sleep, task
from understudy.actors.attempt.actor import current_actor


@task(retry=Retry(attempts=100, delay=0.0))
def dies_slowly(times: int, after: float) -> int:
    """Its worker dies in each of the first attempts, some time after their begin; the number of the attempt."""
    attempt = current().attempt
    if attempt <= times:
        time.sleep(after)
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


@task(isolate=True)
def isolated(depth: int) -> int:
    return 1 + isolated.start(depth - 1).result() if depth else 0


@task(memory_limit=1 << 30)
def limited(depth: int) -> int:
    return 1 + limited.start(depth - 1).result() if depth else 0


@task(isolate=True)
async def isolated_async(depth: int) -> int:
    return 1 + await aio.result(await aio.start(isolated_async, depth - 1)) if depth else 0


@task(isolate=True)
def isolated_in_threads(depth: int) -> int:
    """Waits for its children in threads of a pool, and for those."""
    if not depth:
        return 0
    with ThreadPoolExecutor(2) as pool:
        return 1 + max(pool.map(lambda n: isolated_in_threads.start(n).result(), (depth - 1, 0)))


@task(isolate=True)
async def isolated_async_in_threads(depth: int) -> int:
    if not depth:
        return 0
    child = await aio.start(isolated_async_in_threads, depth - 1)
    return 1 + await asyncio.to_thread(child.result)


@task(isolate=True)
def began() -> float:
    return time.time()


@task(isolate=True)
def works_beside_a_waiting_thread(folder: str) -> list[float]:
    """A thread waits for a child. The task works until the test leaves the file `go`, and then waits for the thread.

    The end of the work, and the child's begin.
    """
    child = began.start()
    checkpoint(child.id)
    times: list[float] = []
    thread = threading.Thread(target=lambda: times.append(child.result()))
    thread.start()
    while not Path(folder, "go").exists():
        pass
    times.append(time.time())
    thread.join()
    return times


@task
def adds_then_fails() -> int:
    """The sum of its messages. It begins once the file `go` is in the home.

    It fails after the first message unless the file `whole` is there.
    """
    home = Path(current_actor.get().host.home)
    while not (home / "go").exists():
        sleep(0.01)
    whole = (home / "whole").exists()
    total = restore() or 0
    while (message := receive()) is not None:
        total += message
        checkpoint(total)
        if not whole:
            raise ValueError("not whole")
    return int(total)


@task
def fails() -> None:
    raise ValueError("as always")


@task
def returns_a_lock(folder: str) -> object:
    """A value that cannot be kept; notes each of its runs."""
    (Path(folder) / f"ran-{time.time_ns()}").touch()
    return threading.Lock()


@task(isolate=True)
def works_till_told(folder: str) -> str:
    """Works until the test leaves the file `go`."""
    Path(folder, "works").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return "done"


@task(isolate=True, retry=Retry(attempts=1, delay=0))
def waits_for_isolated(folder: str) -> str:
    """Starts one child, however often it begins, and waits for it."""
    child = works_till_told.options(key=f"child of {current().id}").start(folder)
    checkpoint(child.id)
    return child.result()


@task
def ends_when_told(folder: str) -> int:
    """Works until the test leaves the file `go`; notes each of its runs."""
    Path(folder, f"ran-{time.time_ns()}").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return 7


@task
def dies_after_the_other(folder: str) -> None:
    """Its worker dies when the other task there has ended and all reports of the worker are sent."""
    worker: Any = current_actor.get().host
    while worker._slots._working < 2:
        time.sleep(0.001)
    Path(folder, "both").touch()
    while worker._slots._working > 1:
        time.sleep(0.001)
    worker._reports.flush()
    os.kill(os.getpid(), signal.SIGKILL)


@task
def waits() -> Any:
    return receive()


@task
def fails_in_a_group(folder: str) -> int:
    """Notes each of its runs; its first attempt fails with a group of errors."""
    Path(folder, f"ran-{time.time_ns()}").touch()
    if current().attempt == 1:
        raise ExceptionGroup(
            "several", [ConnectionError("a"), ExceptionGroup("more", [ConnectionError("b")])]
        )
    return current().attempt

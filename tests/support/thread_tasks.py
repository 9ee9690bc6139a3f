"""Tasks that use threads of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stage_tasks import die, note
from understudy import Retry, aio, checkpoint, current, receive, restore, sleep, task


@task
def same(value: Any) -> Any:
    return value


@task
def fans_out(count: int) -> int:
    """Starts its children in threads of a pool, and waits for them there."""
    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(lambda n: same.start(n).result(), range(count)))


@task
def prints(text: str) -> None:
    """Prints by a thread, and by a thread of a pool."""
    thread = threading.Thread(target=print, args=(text, "thread"))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(print, text, "pool").result()


@task
def works_beside_a_sleeper(folder: str, how: str = "") -> None:
    """A helper thread sleeps. The task works until the test leaves the file `go`, and then may die."""
    asleep = threading.Event()

    def helper() -> None:
        asleep.set()
        sleep(3600)

    threading.Thread(target=helper, daemon=True).start()
    asleep.wait()
    note(folder, "works")
    while not Path(folder, "go").exists():
        pass
    if how:
        die(how)


@task
def leaves_a_sleeper() -> None:
    """Ends while its helper thread waits."""
    threading.Thread(target=sleep, args=(3600,), daemon=True).start()


@task
def waits() -> Any:
    return receive()


@task
async def waits_async() -> Any:
    return await aio.receive()


@task
def computes() -> None:
    while True:
        pass


@task
def echoes() -> list[Any]:
    message = receive()
    checkpoint(message)
    return [message, restore()]


@task
def thread_name() -> str:
    return threading.current_thread().name


def _handled() -> list[str]:
    """The name of this thread, and of the signal that it has handled."""
    heard: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    while not heard:
        time.sleep(0.001)
    return [threading.current_thread().name, signal.Signals(heard[0]).name]


@task
def on_main() -> list[str]:
    return _handled()


@task
async def on_main_async() -> list[str]:
    heard = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await heard.wait()
    return [threading.current_thread().name, "SIGUSR1"]


@task(ack="checkpoint", retry=Retry(attempts=1, delay=0))
def collects_by_a_helper(folder: str, count: int) -> list[Any]:
    """Works until the test leaves the file `go`, while a helper thread receives; the messages of the helper."""
    got: list[Any] = []

    def collect() -> None:
        while True:
            got.append(receive())
            if len(got) == count:
                here = current()
                note(folder, f"got-{here.attempt}-{here.interruptions}")

    threading.Thread(target=collect, daemon=True).start()
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    return got


@task
def receives_in_a_pool(count: int) -> list[Any]:
    with ThreadPoolExecutor(count) as pool:
        return sorted(pool.map(lambda _: receive(), range(count)))


@task
def dies_in_a_pool(folder: str) -> None:
    """Waits for a pool, of which one thread sleeps and one works until the test leaves the file `go`, and dies."""

    def work(sleeps: bool) -> None:
        if sleeps:
            sleep(3600)
        note(folder, "works")
        while not Path(folder, "go").exists():
            pass
        die("kill")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, (True, False)))


@task
async def blocks_threads(folder: str, count: int) -> None:
    """Blocks threads of the event loop's executor, which nothing ends."""

    def block(number: int) -> None:
        note(folder, f"blocked-{number}")
        threading.Event().wait()

    await asyncio.gather(*(asyncio.to_thread(block, number) for number in range(count)))


@task
async def calls_in_a_thread(folder: str) -> str:
    """Makes a blocking call that ends when the test leaves the file `go`, and then another one."""

    def block() -> None:
        note(folder, "calls")
        while not Path(folder, "go").exists():
            time.sleep(0.005)

    await asyncio.to_thread(block)
    return await asyncio.to_thread(str, "called")

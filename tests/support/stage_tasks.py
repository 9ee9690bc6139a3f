"""Tasks for the scenarios: well-behaved ones, and ones that do what a task should not do."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from understudy import (
    Fail,
    Retry,
    RetryLater,
    aio,
    cancelled,
    checkpoint,
    current,
    receive,
    restore,
    sleep,
    task,
)


def note(folder: str, name: str, text: object = None) -> None:
    """Leave a file for the test, in one piece; by default with this process's pid."""
    draft = Path(folder, f".{name}.{os.getpid()}.{time.monotonic_ns()}")
    draft.write_text(str(os.getpid() if text is None else text))
    draft.rename(Path(folder, name))


# --- that behave ---


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def same(value: Any) -> Any:
    return value


@task
def pid() -> int:
    return os.getpid()


@task
def total() -> int:
    """The sum of its messages until its mailbox is closed."""
    amount = 0
    while (message := receive()) is not None:
        if isinstance(message, dict):
            break
        amount += message
    return amount


@task
async def total_async() -> int:
    amount = 0
    while (message := await aio.receive()) is not None:
        amount += message
    return amount


@task
def ledger(folder: str) -> list[Any]:
    """Collects its messages, with a checkpoint after each; returns also how often it was begun."""
    state = restore() or []
    note(folder, f"begun-{len(list(Path(folder).glob('begun-*')))}")
    while (message := receive()) is not None:
        if isinstance(message, dict):
            break
        state.append(message)
        checkpoint(state)
    return state


@task
def neighbour() -> list[int]:
    """Works without end until it has been interrupted once."""
    here = current()
    while not here.interruptions:
        time.sleep(0.005)
    return [here.attempt, here.interruptions]


@task
def working(folder: str, name: str) -> list[int]:
    """Works until the test leaves the file `go`."""
    note(folder, name)
    while not Path(folder, "go").exists():
        time.sleep(0.005)
    here = current()
    return [here.attempt, here.interruptions]


@task
def works_and_waits(folder: str, name: str) -> None:
    """Works as `working` does, then waits."""
    working(folder, name)
    sleep(3600)


@task
def parked(seconds: float = 3600) -> list[Any]:
    going_on = sleep(seconds)
    here = current()
    return [going_on, here.attempt, here.interruptions]


@task
def parent(count: int, depth: int = 1) -> int:
    """Starts children and waits for them."""
    children = [parent.start(count, depth - 1) if depth > 1 else add.start(1, 1) for _ in range(count)]
    return sum(child.result(60) for child in children)


@task
async def parent_async(count: int) -> int:
    children = [await aio.start(add_async, 1, 1) for _ in range(count)]
    return sum([await aio.result(child, 60) for child in children])


@task
async def add_async(a: int, b: int) -> int:
    return a + b


@task
def waits_for(id: str) -> Any:
    """Waits for another task's result."""
    from understudy.actors.task.current_runtime import runtime

    return runtime().result(id)


@task
async def waits_for_async(id: str) -> Any:
    return await aio.result(id)


@task
def obedient() -> str:
    """Stops when asked to, but returns a value."""
    while not cancelled():
        time.sleep(0.002)
    return "stopped"


@task
def brief(folder: str, name: str) -> str:
    """So short that a cancel may be too late."""
    note(folder, name)
    return name


# --- that do not stop ---


@task(grace=0.2)
def spins(folder: str) -> None:
    note(folder, "begun")
    while True:
        pass


@task(grace=0.2)
def holds_the_gil(folder: str, seconds: int = 600) -> None:
    note(folder, "begun")
    ctypes.PyDLL(None).sleep(seconds)


@task(grace=0.2)
def blocks_in_c(folder: str) -> None:
    note(folder, "begun")
    ctypes.CDLL(None).sleep(600)


@task(grace=0.2)
def swallows_all(folder: str) -> None:
    note(folder, "begun")
    while True:
        try:
            sleep(0.01)
            receive(timeout=0.01)
        except BaseException:  # noqa: BLE001 - that is its part
            pass


@task(grace=0.2)
def breeds(folder: str) -> None:
    """Leaves a child, and a daemon in its own session whose parent has ended."""
    child = subprocess.Popen(["sleep", "600"])
    note(folder, "child", child.pid)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note(folder, "daemon")
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    note(folder, "begun")
    while True:
        time.sleep(1)


@task(grace=0.2)
async def blocks_the_loop(folder: str, seconds: float = 600) -> None:
    note(folder, "begun")
    time.sleep(seconds)  # noqa: ASYNC251 - that is its part


@task(grace=0.2)
async def swallows_cancelled(folder: str) -> str:
    note(folder, "begun")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            note(folder, "swallowed")


@task
async def sleeps_async(folder: str) -> str:
    note(folder, "begun")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        note(folder, "thrown")
        raise
    return "slept"


@task
async def cleans_up_async() -> str:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return "cleaned up"
    return "slept"


# --- that take their worker with them ---


@task
def dies(how: str, times: int = 1_000_000) -> Any:
    """Ends its process in the given way, in its first attempts."""
    here = current()
    if here.attempt + here.interruptions > times:
        return [here.attempt, here.interruptions]
    die(how)
    return None


@task
def dies_when_told(how: str) -> None:
    """Waits for a message and dies at once."""
    receive()
    die(how)


@task(timeout=0.3, grace=20)
def too_late() -> Any:
    """Takes a message. In its first attempt it returns that after its deadline."""
    message = receive(timeout=10)
    while current().attempt == 1 and current().cancel_reason is None:
        time.sleep(0.002)
    return message


@task
def dies_when_free(how: str, folder: str) -> None:
    """Dies when the test leaves the file `crash`; dies at once in a worker of its own."""
    note(folder, "begun")
    while not Path(folder, "crash").exists():
        time.sleep(0.002)
    die(how)


def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "orphan":
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        os._exit(7 if child.pid else 8)


@task(memory_limit=150 * 1024 * 1024)
def eats(megabytes: int) -> int:
    held = []
    for _ in range(megabytes):
        held.append(bytearray(b"x") * 1024 * 1024)
        time.sleep(0.0005)
    return len(held)


# --- that fail ---


class Weather(Exception):
    pass


class Storm(Weather):
    pass


@task
def fails(kind: str, times: int) -> list[int]:
    """Fails in its first attempts."""
    attempt = current().attempt
    if attempt <= times:
        if kind == "fail":
            raise Fail("enough")
        if kind == "later":
            raise RetryLater(0.05)
        if kind == "later_by_policy":
            raise RetryLater
        raise {"storm": Storm, "weather": Weather, "value": ValueError, "timeout": TimeoutError}[kind](kind)
    return [attempt, current().interruptions]


@task(timeout=0.2, grace=5)
def slow_at_first(times: int) -> int:
    """Waits for its timeout, in its first attempts."""
    if current().attempt <= times:
        sleep(60)
    return current().attempt


@task(retry=Retry(attempts=3, delay=0.01))
def resumes() -> Any:
    """Takes two messages in each attempt; fails after the first of them is in a checkpoint."""
    state = restore() or []
    state.append(receive())
    checkpoint(state)
    receive()
    if current().attempt < 3:
        raise ValueError("again")
    return [state, current().id]


_hoard: list[bytearray] = []


@task
def hoards(megabytes: int) -> int:
    """Leaves memory behind in its worker, like a leak."""
    _hoard.append(bytearray(b"x") * (megabytes * 1024 * 1024))
    return os.getpid()


# --- that fork ---


@task
def forks_and_forgets(folder: str) -> int:
    """The child returns from the task's code, as if it were the worker."""
    child = os.fork()
    if child == 0:
        print("from the child")
        try:
            checkpoint("from the child")
        except Exception as error:  # noqa: BLE001 - the test looks at what it is
            note(folder, "refused", type(error).__name__)
        return -1
    _, status = os.waitpid(child, 0)
    print("from the parent")
    return os.waitstatus_to_exitcode(status)


@task
def multiprocesses() -> list[int | None]:
    """A child that ends, and one that is terminated."""
    context = multiprocessing.get_context("fork")
    short = context.Process(target=print, args=("from the child",))
    long = context.Process(target=time.sleep, args=(600,))
    short.start()
    long.start()
    short.join()
    long.terminate()
    long.join()
    # A start in another thread reaps any ended child. Then only that thread knows the exit code for an
    # instant.
    while None in (codes := [short.exitcode, long.exitcode]):
        time.sleep(0.001)
    return codes


# --- whose errors come in groups ---


async def _fetch(error: str) -> None:
    if current().attempt == 1:
        raise {"connection": ConnectionError, "value": ValueError}[error](error)


@task(retry=Retry(2, delay=0.01, on=ConnectionError, not_on=UnicodeError))
async def fetch_all(*errors: str) -> int:
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(_fetch(error))
    return current().attempt


def is_busy(error: BaseException) -> bool:
    return "busy" in str(error)


@task(retry=Retry(2, delay=0.01, on=is_busy))
def ask(answer: str) -> int:
    if current().attempt == 1:
        raise ValueError(answer)
    return current().attempt


@task
async def nurse(folder: str) -> int:
    """Waits in a task group, of which a drain interrupts one member."""
    async with asyncio.TaskGroup() as group:
        group.create_task(aio.sleep(60 if current().interruptions == 0 else 0))
        group.create_task(asyncio.sleep(60 if current().interruptions == 0 else 0))
        note(folder, f"nurse-{current().interruptions}")
    return current().interruptions

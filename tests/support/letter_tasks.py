"""The app of the scenarios about messages and state: each task is small and does what its name says."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import signal
import socket
import sys
from typing import Any

from understudy import (
    Retry,
    aio,
    cancelled,
    checkpoint,
    current,
    progress,
    receive,
    restore,
    send,
    sleep,
    task,
)
from understudy.actors.task import current_runtime

#: Retries without delay, more than any test uses.
AGAIN = Retry(attempts=1_000_000, delay=0)


def die() -> None:
    """End this worker as the OOM killer would."""
    os.kill(os.getpid(), signal.SIGKILL)


@task
def noop() -> None:
    pass


@task
def add(a: Any, b: Any) -> Any:
    return a + b


@task
def echo(value: Any) -> Any:
    return value


@task
async def echo_async(value: Any) -> Any:
    return value


@task
def collect() -> list[Any]:
    """Every message, in the order received. Without state, so each receive acknowledges the message before."""
    messages = []
    while (message := receive()) is not None and not cancelled():
        messages.append(message)
    return messages


@task(retry=AGAIN)
def add_up(every: int, deadly: list[int]) -> dict[str, Any]:
    """Sums messages, with a checkpoint after each `every`; dies after each message count in `deadly`."""
    state = restore() or {"sum": 0, "count": 0}
    mark = deadly[current().attempt - 1] if current().attempt <= len(deadly) else None
    handled = 0
    while (message := receive()) is not None:
        state["sum"] += message
        state["count"] += 1
        handled += 1
        if handled == mark:
            die()
        if state["count"] % every == 0:
            checkpoint(state)
    return {**state, "attempts": current().attempt}


@task(retry=AGAIN)
async def add_up_async(every: int, deadly: list[int]) -> dict[str, Any]:
    """See `add_up`."""
    state = await aio.restore() or {"sum": 0, "count": 0}
    mark = deadly[current().attempt - 1] if current().attempt <= len(deadly) else None
    handled = 0
    while (message := await aio.receive()) is not None:
        state["sum"] += message
        state["count"] += 1
        handled += 1
        if handled == mark:
            die()
        if state["count"] % every == 0:
            await aio.checkpoint(state)
    return {**state, "attempts": current().attempt}


@task(retry=AGAIN)
def write_down(path: str, deadly: list[int]) -> int:
    """Appends each message to a file; dies after each message count in `deadly`."""
    mark = deadly[current().attempt - 1] if current().attempt <= len(deadly) else None
    handled = 0
    while (message := receive()) is not None:
        with open(path, "a", encoding="ascii") as file:
            file.write(f"{current().attempt} {message}\n")
        handled += 1
        if handled == mark:
            die()
    return handled


@task(retry=AGAIN)
def look_back(path: str) -> None:
    """Calls `restore` once, then appends messages to a file; dies after the third, in the first attempt only."""
    restore()
    handled = 0
    while (message := receive()) is not None:
        with open(path, "a", encoding="ascii") as file:
            file.write(f"{current().attempt} {message}\n")
        handled += 1
        if current().attempt == 1 and handled == 3:
            die()


@task(retry=AGAIN)
def save_and_write_down(path: str) -> None:
    """As `look_back`, with a checkpoint after the first message."""
    handled = 0
    while (message := receive()) is not None:
        with open(path, "a", encoding="ascii") as file:
            file.write(f"{current().attempt} {message}\n")
        handled += 1
        if handled == 1:
            checkpoint(message)
        if current().attempt == 1 and handled == 3:
            die()


@task(retry=AGAIN)
def stage(every: int, next_id: str | None, deadly: list[int]) -> Any:
    """One stage of a pipeline: doubles each message and sends it on in the checkpoint that acknowledges it.

    None is passed on and ends the stage. The last stage returns all its messages. Dies after each message
    count in `deadly`.
    """
    state: dict[str, Any] = restore() or {"count": 0, "got": []}
    mark = deadly[current().attempt - 1] if current().attempt <= len(deadly) else None
    handled, letters = 0, []
    while True:
        message = receive()
        over = message == "end"
        state["count"] += 1
        if next_id is None:
            state["got"].append(message)
        else:
            letters.append((next_id, message if over else message * 2))
        handled += 1
        if handled == mark:
            die()
        if over or state["count"] % every == 0:
            checkpoint(state, send=letters)
            letters = []
        if handled == mark:
            die()
        if over:
            return state["got"] if next_id is None else state["count"]


@task
def try_to_checkpoint(first: Any, second: Any, receivers: list[str]) -> list[Any]:
    """Checkpoints `first`. Then, for each message, tries `second` with a message to all `receivers`.

    Returns the error's class name and message for each refused try, True for each other one.
    """
    checkpoint(first)
    said: list[Any] = []
    while (message := receive()) is not None:
        try:
            said.append(checkpoint(second, send=[(id, message) for id in receivers]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
            said.append([type(error).__name__, str(error), restore()])
        progress(len(said))
    return said


@task
def take(count: int, how: str) -> None:
    """Receives this many messages, reports it as progress, and waits for one more.

    `how` looks back or saves first.
    """
    if how == "restore":
        restore()
    for number in range(count):
        message = receive()
        if cancelled():
            return
        if how == "checkpoint" and number == 0:
            checkpoint(message)
        progress(number + 1)
    receive()


@task(isolate=True, grace=0.5, timeout=None, retry=AGAIN)
def puppet(address: str) -> Any:
    """Obeys a socket: one JSON list per line, with one answer each. So a test decides every step."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        lines = sock.makefile("rwb")
        answer: Any = [current().id, current().attempt]
        while True:
            lines.write(json.dumps(answer).encode() + b"\n")
            lines.flush()
            while not select.select([sock], [], [], 0.01)[0]:
                if cancelled():
                    return "cancelled"
            line = lines.readline()
            if not line:
                return "let go"
            what, *args = json.loads(line)
            if what == "end":
                return args[0]
            answer = obey(what, args)


def obey(what: str, args: list[Any]) -> Any:
    """One order to a puppet."""
    try:
        match what:
            case "receive":
                return ["got", receive(timeout=args[0])]
            case "checkpoint":
                return ["saved", checkpoint(args[0], send=args[1])]
            case "restore":
                return ["restored", restore()]
            case "die":
                die()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
        return ["raised", type(error).__name__]
    raise AssertionError(what)


@task(retry=AGAIN)
def count_down(start: int) -> list[int]:
    """Sends itself one less than each message, in the checkpoint that acknowledges it; dies twice meanwhile."""
    seen: list[int] | None = restore()
    if seen is None:
        seen = []
        checkpoint(seen, send=[(current().id, start)])
    while not seen or seen[-1] > 0:
        number = receive()
        seen.append(number)
        checkpoint(seen, send=[(current().id, number - 1)] if number else [])
        if current().attempt == 1 and number == start - 5:
            die()
    return seen


@task
def hold_a_slot() -> None:
    """Appears to work until it is cancelled."""
    while not cancelled():
        select.select([], [], [], 0.01)


@task
def fail_after_one() -> None:
    """Takes one message and fails because of it."""
    raise ValueError(f"cannot do anything with {receive()!r}")


@task
def checksum(stateful: bool = False) -> list[int]:
    """Number of messages, sum of their numbers, total length of their bodies."""
    count = total = size = 0
    if stateful:
        restore()
    while (message := receive()) is not None:
        count, total, size = count + 1, total + message[0], size + len(message[1])
        if stateful and count % 500 == 0:
            checkpoint(count)
    return [count, total, size]


@task
def sign(path: str, one: int, two: int) -> None:
    """Adds `one.two` to a file, in one write."""
    book = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(book, f"{one}.{two}\n".encode())
    os.close(book)


@task
def fail_with(message: str) -> None:
    raise ValueError(message)


@task
def parent(generations: int) -> list[list[str | None]]:
    """Starts a child like itself, and returns the data of the children's handles."""
    if generations == 0:
        return []
    info = parent.start(generations - 1)
    return [[info.id, info.stream_id, info.origin_run], *info.result(30)]


@task
async def parent_async(generations: int) -> list[list[str | None]]:
    """See `parent`."""
    if generations == 0:
        return []
    info = await aio.start(parent_async, generations - 1)
    return [[info.id, info.stream_id, info.origin_run], *(await aio.result(info, 30))]


@task
async def add_async(a: Any, b: Any) -> Any:
    return a + b


@task
def return_an_object() -> Any:
    return {"deep": [1, object()]}


@task
def save_an_object() -> None:
    checkpoint({"deep": [1, object()]})


@task
def length(text: str) -> int:
    return len(text)


@task
def text_of(size: int) -> str:
    return "x" * size


@task
def save_text_of(sizes: list[int]) -> list[Any]:
    """Checkpoints texts of these sizes: True for each that is accepted, else the name of the error."""
    said: list[Any] = []
    for size in sizes:
        try:
            said.append(checkpoint("x" * size))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
            said.append(type(error).__name__)
    return said


def name_of_error(call: Any) -> str:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
        return type(error).__name__
    return "nothing"


async def name_of_async_error(awaitable: Any) -> str:
    try:
        await awaitable
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants to know
        return type(error).__name__
    return "nothing"


@task
def use_everything() -> dict[str, Any]:
    """Calls everything that a task can call, and returns the effects."""
    said: dict[str, Any] = {"sum": add.start(1, 2).result(30)}
    rt = current_runtime.runtime()
    said["by name"] = rt.start("letter_tasks:add", 3, 4).result(30)
    child = collect.start()
    child.send("hello")
    send(child.id, 2)
    child.close()
    said["child's letters"] = child.result(30)
    held = collect.start()
    said["late"] = name_of_error(lambda: held.result(0.01))
    held.cancel()
    said["cancelled"] = name_of_error(lambda: held.result(30))
    said["failed"] = name_of_error(lambda: fail_with.start("no").result(30))
    said["state of the child"] = str(child.status().state)
    checkpoint({"step": 1})
    said["own state"] = restore()
    said["another's state"] = restore(current().id)
    said["closed"] = name_of_error(lambda: send(child.id, 3))
    said["slept"] = sleep(0.001)
    said["wrong world"] = name_of_error(lambda: aio.receive().send(None))
    return said


@task
async def use_everything_async() -> dict[str, Any]:
    """As `use_everything`, with the awaitable twins."""
    said: dict[str, Any] = {"sum": await aio.result(await aio.start(add, 1, 2), 30)}
    said["by name"] = await aio.result(await aio.start("letter_tasks:add", 3, 4), 30)
    child = await aio.start(collect)
    await aio.send(child.id, "hello")
    await aio.send(child.id, 2)
    await asyncio.to_thread(child.close)
    said["child's letters"] = await aio.result(child, 30)
    held = await aio.start(collect)
    said["late"] = await name_of_async_error(aio.result(held, 0.01))
    await asyncio.to_thread(held.cancel)
    said["cancelled"] = await name_of_async_error(aio.result(held, 30))
    said["failed"] = await name_of_async_error(aio.result(await aio.start(fail_with, "no"), 30))
    said["state of the child"] = str((await asyncio.to_thread(child.status)).state)
    await aio.checkpoint({"step": 1})
    said["own state"] = await aio.restore()
    said["another's state"] = await aio.restore(current().id)
    said["closed"] = await name_of_async_error(aio.send(child.id, 3))
    said["slept"] = await aio.sleep(0.001)
    said["wrong world"] = name_of_error(receive)
    return said


def say() -> None:
    """Prints and logs in every possible way."""
    print("to stdout")
    print("to stderr", file=sys.stderr)
    print("two\nlines")
    print("in ", end="")
    print("parts", flush=True)
    print("1 %\r50 %\r100 %")
    sys.stdout.buffer.write("bytes, too: ä\n".encode())
    logger = logging.getLogger("letters")
    logger.debug("not worth keeping")
    logger.info("an %s", "info")
    logger.warning("a warning")
    logger.getChild("below").error("an error")
    print()
    print("no end of line", end="")
    print("none here, either", end="", file=sys.stderr)


@task
def say_everything() -> None:
    say()


@task
async def say_everything_async() -> None:
    say()


@task
def repeat_aloud() -> None:
    while (message := receive()) is not None:
        print(message)


@task(retry=AGAIN)
def say_and_die() -> None:
    print(f"attempt {current().attempt}")
    if current().attempt == 1:
        # Until the line has been sent, or has had the time for it.
        sleep(0.2)
        die()


@task
def chatter(name: str, count: int) -> str:
    for number in range(count):
        print(f"{name} {number}")
    return name


@task
async def chatter_async(name: str, count: int) -> str:
    for number in range(count):
        print(name, end=" ")
        await asyncio.sleep(0)
        print(number)
    return name


@task
def log_a_lot(size: int) -> int:
    """One log entry, and one line without an end, of this many characters."""
    logging.getLogger("letters").warning("x" * size)
    print("y" * size, end="")
    return size


@task(retry=AGAIN)
def report() -> None:
    while (message := receive()) is not None:
        progress(*message)


@task
def print_half_a_pair() -> None:
    """Text that cannot be written as UTF-8."""
    print("half \ud83d of it")
    logging.getLogger("letters").warning("\ud83d")


@task(retry=AGAIN)
def save_each() -> list[int]:
    """Checkpoints the number of each message [number, size] and keeps nothing else; returns the numbers."""
    numbers = []
    while (message := receive()) is not None:
        number, size = message
        # First the full amount, so that the disk has work to do.
        checkpoint("x" * size)
        checkpoint(number)
        numbers.append(number)
    return numbers

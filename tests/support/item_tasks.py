"""Tasks and an actor that publish, for tests of watching."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from understudy import (
    Actor,
    Event,
    Retry,
    actor,
    aio,
    checkpoint,
    current,
    emit,
    on,
    publish,
    read_only,
    receive,
    restore,
    sleep,
    task,
)


@task
def tokens(count: int) -> None:
    for n in range(count):
        publish("token", n)


@task(retry=Retry(attempts=2, delay=0.01))
def twice(count: int) -> str:
    """Publishes and prints; its first attempt fails in the middle."""
    for n in range(count):
        print(f"line {n}")
        publish("token", n)
        if current().attempt == 1 and n == count // 2:
            raise OSError("not today")
    return "done"


@task(retry=Retry(attempts=50, delay=0))
def steps(count: int) -> int:
    """Publishes each step with the checkpoint that says so."""
    done = restore() or 0
    while done < count:
        publish("try", done)
        print(f"step {done}")
        done += 1
        checkpoint(done, publish=[("step", done), ("double", 2 * done)])
    return int(done)


@task
def on_demand() -> None:
    """Publishes every message."""
    while (message := receive()) is not None:
        publish("message", message)


@task
async def from_coroutines() -> None:
    async def one(n: int) -> None:
        await aio.publish("coroutine", n)

    await asyncio.gather(*(one(n) for n in range(3)))
    publish("plain", None)
    await aio.checkpoint(1, publish=[("checkpoint", 1)], emit=[("item.made", {"n": 1}, "item/1")])


@task
def from_threads() -> None:
    threads = [threading.Thread(target=publish, args=("thread", n)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@task
def bad_input(kind: str) -> Any:
    if kind == "name":
        publish("", 1)
    elif kind == "long":
        publish("n" * 201, 1)
    elif kind == "type":
        publish(7, 1)  # type: ignore[arg-type]
    elif kind == "value":
        publish("x", object())
    elif kind == "size":
        publish("x", b"x" * 200_000)
    elif kind == "pairs":
        checkpoint(1, publish=["name"])  # type: ignore[list-item]
    elif kind == "emit":
        checkpoint(1, publish=[("a", 1)], emit=[("no name", 1)])
    elif kind == "send":
        publish("before", 1)
        checkpoint(
            1, send=[("0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d", 1)], publish=[("a", 1)], emit=[("item.made", 1)]
        )


@task
def silent() -> int:
    return 1


@task
def brings_up(children: int) -> int:
    """Starts silent tasks, waits for them, and is silent, too."""
    return sum(info.result(timeout=30) for info in [silent.start() for _ in range(children)])


@task
def waits_silently() -> None:
    receive()


@on("quiet.**")
def hears(event: Event) -> None:
    if event.name == "quiet.again":
        emit("quiet.two")


@on("quiet.two")
def hears_too(event: Event) -> None:
    pass


@task
def parent() -> str:
    """Works with a child and an actor in its stream."""
    publish("parent", 1)
    child = tokens.start(2)
    child.result(timeout=30)
    actor(Purse, "of the parent").proxy().add(5).get(timeout=30)
    return child.id


@on("item.made")
def handle(event: Event) -> None:
    publish("handled", event.data)


class Purse(Actor):
    def __init__(self) -> None:
        self.sum = 0

    def add(self, amount: int) -> int:
        self.sum += amount
        publish("sum", self.sum)
        if amount < 0:
            raise ValueError("less than nothing")
        return self.sum

    @read_only
    def peek(self) -> int:
        publish("peek", self.sum)
        return self.sum


@task
def deaf() -> None:
    """Receives nothing, until it is cancelled."""
    sleep(600)

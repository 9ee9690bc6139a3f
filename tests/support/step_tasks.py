"""Tasks and actors with steps. What runs is noted in a file of the folder that they are given."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy import Actor, Retry, RetryLater, aio, current, read_only, sleep, step, task
from understudy.actors.ids import id_text, new_id

AGAIN = Retry(attempts=10, delay=0)


def note(folder: str, *words: str) -> None:
    """Add a line to the file of the folder, in one write."""
    with Path(folder, "notes").open("ab", buffering=0) as file:
        file.write((" ".join(words) + "\n").encode())


def notes(folder: str | Path) -> list[list[str]]:
    path = Path(folder, "notes")
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def ran(folder: str | Path, name: str | None = None) -> int:
    """How often the function of a step has run."""
    return sum(words[0] == "ran" and name in (None, words[1]) for words in notes(folder))


def returned(folder: str | Path) -> int:
    """How often steps have returned."""
    return sum(words[0] == "has" for words in notes(folder))


def work(folder: str, name: str) -> str:
    """Gives another value each time."""
    value = id_text(new_id())
    note(folder, "ran", name, value)
    return value


async def async_work(folder: str, name: str) -> str:
    await asyncio.sleep(0.001)
    return work(folder, name)


def has(folder: str, name: str, value: str) -> str:
    """The step has returned: from now on it must give this value."""
    note(folder, "has", name, value)
    return value


def wrong(folder: str | Path) -> list[str]:
    """The steps that have returned different values."""
    values: dict[str, str] = {}
    return [
        name
        for kind, name, value in notes(folder)
        if kind == "has" and values.setdefault(name, value) != value
    ]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


@task(retry=AGAIN)
def three(folder: str, fails: int = 0) -> list[str]:
    values = [has(folder, str(n), step(work, folder, str(n))) for n in range(3)]
    if current().attempt <= fails:
        raise ValueError("again")
    return values


@task(retry=AGAIN)
def dies(folder: str, where: str) -> list[str]:
    """Its worker dies in its first attempt: in the function of the second step, or after that step."""
    first = current().attempt == 1

    def second() -> str:
        value = work(folder, "second")
        if first and where == "in":
            die()
        return value

    values = [has(folder, "first", step(work, folder, "first")), has(folder, "second", step(second))]
    if first and where == "after":
        die()
    return [*values, has(folder, "third", step(work, folder, "third"))]


@task(retry=AGAIN)
async def six(folder: str, deaths: int) -> list[str]:
    """Six steps at once, of which each waits until the one before has returned. In each of the first attempts another
    one kills the worker, while the others wait."""
    attempt = current().attempt
    before = [asyncio.Event() for _ in range(7)]
    before[0].set()

    async def function(number: int) -> str:
        await before[number].wait()
        value = work(folder, str(number))
        if attempt <= deaths and number == 2 * attempt - 1:
            die()
        return value

    async def one(number: int) -> str:
        value = await aio.step.options(key=str(number))(function, number)
        before[number + 1].set()
        return has(folder, str(number), value)

    numbers = list(range(6))
    if attempt % 2 == 0:
        numbers.reverse()
    values = await asyncio.gather(*map(one, numbers))
    return sorted(values)


@task(retry=AGAIN)
def edited(folder: str) -> list[str]:
    """As if a release had changed the code between the attempts."""
    plans = [["a", "b", "c"], ["c", "new", "a"], ["new", "b", "a", "c", "d"]]
    plan = plans[current().attempt - 1]
    values = [has(folder, name, step.options(name=name)(work, folder, name)) for name in plan]
    if current().attempt < len(plans):
        raise ValueError("again")
    return values


def inner(folder: str) -> str:
    return step(work, folder, "inner")


@task
def nested(folder: str) -> str:
    return step(inner, folder)


@task
async def nested_async(folder: str) -> str:
    async def outer() -> str:
        return await asyncio.create_task(aio.step(async_work, folder, "inner"))

    return await aio.step(outer)


@dataclass
class Invoice:
    id: str
    cents: int


def make_invoice(folder: str) -> Invoice:
    return Invoice(work(folder, "invoice"), 100)


@task(retry=AGAIN)
def typed(folder: str) -> list[Any]:
    invoice = step(make_invoice, folder)
    assert isinstance(invoice, Invoice)
    if current().attempt == 1:
        raise ValueError("again")
    return [invoice.id, invoice.cents]


def unencodable() -> Any:
    return {"deep": [object()]}


@task(retry=AGAIN)
def cannot_be_kept(size: int = 0) -> None:
    if size:
        step.options(name="too-large")(bytes, size)
    else:
        step(unencodable)


def flaky(folder: str, name: str, failures: int) -> int:
    work(folder, name)
    tries = ran(folder, name)
    if tries <= failures:
        raise ConnectionError(f"try {tries}")
    return tries


@task
def tries(folder: str, failures: int, retry: int, delay: float = 0.0) -> int:
    return step.options(retry=Retry(retry, delay=delay, on=ConnectionError))(flaky, folder, "flaky", failures)


@task
async def tries_async(folder: str, failures: int, retry: int, delay: float = 0.0) -> int:
    policy = Retry(retry, delay=delay, on=ConnectionError)
    return await aio.step.options(retry=policy)(flaky, folder, "flaky", failures)


def fails(folder: str, name: str) -> None:
    work(folder, name)
    raise ValueError("no")


@task(retry=Retry(attempts=1, delay=0))
def errors_are_not_kept(folder: str) -> str:
    try:
        step(fails, folder, "failing")
    except ValueError:
        note(folder, "caught", "failing")
    if current().attempt == 1:
        raise RetryLater(0)
    return "done"


@task(retry=AGAIN)
def many(folder: str, count: int, size: int, fails: int = 1) -> list[Any]:
    """So many steps of so many bytes; in its last attempt, how often functions ran, and seconds a step."""
    before = ran(folder)
    began = time.perf_counter()
    for number in range(count):
        value = step.options(name="many")(noted_bytes, folder, number, size)
        assert value[:8] == number.to_bytes(8)
        assert len(value) == size
    seconds = (time.perf_counter() - began) / count
    if current().attempt <= fails:
        raise ValueError("again")
    return [ran(folder) - before, seconds]


def noted_bytes(folder: str, number: int, size: int) -> bytes:
    note(folder, "ran", str(number), "-")
    return number.to_bytes(8) + bytes(size - 8)


@task(retry=AGAIN)
def by_key(folder: str, fails: int = 0) -> list[str]:
    """The same key twice; its first function had another name."""
    function = work if current().attempt == 1 else renamed
    values = [step.options(key="k")(function, folder, "k") for _ in range(2)]
    if current().attempt <= fails:
        raise ValueError("again")
    return values


def renamed(folder: str, name: str) -> str:
    return work(folder, name)


@task
def one_key_for_two(folder: str) -> None:
    step.options(key="k")(work, folder, "k")
    step.options(key="k")(renamed, folder, "k")


@task
async def one_key_at_once(folder: str) -> None:
    await asyncio.gather(*(aio.step.options(key="k")(async_work, folder, "k") for _ in range(2)))


@task
async def blocking_step(folder: str) -> None:
    step(work, folder, "x")


@task
def coroutine_step(folder: str) -> None:
    step(async_work, folder, "x")


@task
def nameless(folder: str) -> None:
    step(lambda: work(folder, "x"))


@task(retry=Retry(attempts=1, delay=0))
async def in_threads(folder: str) -> list[Any]:
    """The functions of sync steps run in threads; meanwhile the loop goes on."""
    loop_runs = 0

    async def ticks() -> None:
        nonlocal loop_runs
        while True:
            await asyncio.sleep(0)
            loop_runs += 1

    ticking = asyncio.create_task(ticks())
    value = await aio.step(work, folder, "threaded")
    ticking.cancel()
    if current().attempt == 1:
        raise ValueError("again")
    return [value, loop_runs]


@task(timeout=None, retry=AGAIN)
def keeps_one_and_sleeps(folder: str) -> str:
    value = has(folder, "one", step(work, folder, "one"))
    sleep(3_600)
    return value


class Shop(Actor, durable=True):
    """An actor with steps in its methods."""

    def __init__(self) -> None:
        super().__init__()
        self.sold = 0

    def sell(self, folder: str, name: str, kills: int = 0, fails: bool = False) -> list[Any]:
        value = has(folder, name, step(work, folder, name))
        if ran(folder, "tried") < kills:
            work(folder, "tried")
            die()
        self.sold += 1
        if fails and not Path(folder, "mended").exists():
            raise ValueError("no")
        return [value, self.sold]

    def on_start(self) -> None:
        if Path(self.storage.get("folder", "/nowhere"), "step-in-hook").exists():
            step(len, "x")

    @read_only
    def look(self) -> int:
        return step(len, "four")


class Fleeting(Actor):
    def act(self) -> int:
        return step(len, "four")


class AsyncShop(Actor, durable=True):
    async def sell(self, folder: str, name: str, kills: int = 0) -> str:
        value = has(folder, name, await aio.step(async_work, folder, name))
        if ran(folder, "tried") < kills:
            work(folder, "tried")
            die()
        return value


class Eager(Actor, durable=True):
    def __init__(self) -> None:
        super().__init__()
        step(len, "x")

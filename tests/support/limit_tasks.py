"""Tasks with limits. Each notes what it sees in a file: a line when it begins, and one when it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from understudy import Limit, Rate, Retry, aio, receive, sleep, task

API = Limit("api", concurrency=2)


@contextmanager
def noted(folder: str, name: str) -> Iterator[None]:
    """Note the begin and the end. A killed attempt has no end: its line names the process."""
    note(folder, f"+ {name} {os.getpid()} {time.monotonic()}")
    yield
    note(folder, f"- {name} {os.getpid()} {time.monotonic()}")


def note(folder: str, line: str) -> None:
    with (Path(folder) / "notes").open("a") as notes:
        notes.write(line + "\n")


def lines(folder: Path) -> list[list[str]]:
    file = folder / "notes"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def begins(notes: Iterable[list[str]]) -> list[float]:
    """When attempts have begun."""
    return sorted(float(line[3]) for line in notes if line[0] == "+")


@task(concurrency=2, retry=20)
def two(folder: str, seconds: float = 0.0) -> None:
    with noted(folder, "two"):
        sleep(seconds)


@task(rate=Rate(5, per=1), retry=20)
def five(folder: str) -> None:
    with noted(folder, "five"):
        pass


@task(rate=Rate(2, per=600), retry=20)
def seldom(folder: str) -> None:
    with noted(folder, "seldom"):
        pass


@task(limit=API, limit_by="key")
def keyed(folder: str, key: str, seconds: float = 0.0) -> str:
    with noted(folder, key):
        sleep(seconds)
    return key


@task(limit=API, limit_by="key")
async def keyed_async(folder: str, key: str) -> str:
    with noted(folder, key):
        return key


@task(concurrency=1, retry=50)
def one(folder: str, die: bool = False) -> None:
    with noted(folder, "one"):
        if die:
            time.sleep(30)


@task(concurrency=1)
def parked(folder: str) -> None:
    with noted(folder, "parked"):
        receive()


@task
def free(number: int) -> int:
    return number


@contextmanager
def place(folder: str, name: str, places: int) -> Iterator[None]:
    """Hold a lock on one of so many files, and note if there is none. The kernel frees those of a dead process."""
    locks = []
    try:
        for number in range(places):
            locks.append(os.open(Path(folder) / f"{name}.{number}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))
            with suppress(BlockingIOError):
                fcntl.flock(locks[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        else:
            note(folder, f"! {name} {os.getpid()} {time.monotonic()}")
        yield
    finally:
        for lock in locks:
            os.close(lock)


@task(limit=API, limit_by="key", retry=Retry(1_000, 0))
def placed(folder: str, key: str) -> str:
    with place(folder, key, 2):
        time.sleep(0.002)
    return key


@task(limit=API, limit_by="key", retry=Retry(1_000, 0))
async def placed_async(folder: str, key: str) -> str:
    with place(folder, key, 2):
        await aio.sleep(0.002)
    return key

"""Tasks with limits. Each notes what it sees in a file: a line when it begins, and one when it ends."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from understudy import Limit, Rate, receive, sleep, task

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

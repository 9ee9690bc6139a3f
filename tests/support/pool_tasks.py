"""Tasks and actors of a pool called "gpu". They tell where they ran."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from understudy import Actor, Limit, Retry, checkpoint, on, receive, restore, sleep, task

#: What the workers of the pool have in their environment in these tests.
VARIABLE = "POOL_TASKS_DEVICE"


def where() -> tuple[int, str | None]:
    return os.getpid(), os.environ.get(VARIABLE)


def note(folder: str, line: str) -> None:
    with (Path(folder) / "notes").open("a") as notes:
        notes.write(line + "\n")


def notes(folder: Path) -> list[str]:
    file = folder / "notes"
    return file.read_text().splitlines() if file.exists() else []


@task(pool="gpu")
def render(number: int = 0) -> list[Any]:
    return [*where(), number]


@task(pool="gpu")
async def render_async() -> list[Any]:
    return [*where()]


@task(pool="gpu", isolate=True)
def render_alone() -> list[Any]:
    return [*where()]


@task(pool="gpu")
def render_slow(folder: str, number: int) -> int:
    """Note the begin and the end, with the process."""
    note(folder, f"+ {os.getpid()} {number}")
    time.sleep(0.01)
    note(folder, f"- {os.getpid()} {number}")
    return number


@task(pool="gpu", concurrency=2, retry=20)
def render_limited(folder: str, seconds: float = 0.05) -> int:
    note(folder, f"+ {os.getpid()}")
    time.sleep(seconds)
    note(folder, f"- {os.getpid()}")
    return os.getpid()


@task(pool="gpu", retry=Retry(attempts=2, delay=0.05))
def render_again(folder: str) -> int:
    """Fail once."""
    note(folder, str(os.getpid()))
    if len(notes(Path(folder))) == 1:
        raise ValueError("once more")
    return os.getpid()


@task(pool="gpu")
def render_counted(folder: str, most: int) -> list[int]:
    """Count to `most` over the deaths of workers and supervisors; each number is noted after its checkpoint."""
    seen: list[int] = restore() or []
    while len(seen) < most:
        seen.append(len(seen))
        checkpoint(seen)
        note(folder, f"{len(seen)}")
        time.sleep(0.01)
    return seen


@task(pool="gpu")
def render_killing(folder: str) -> int:
    """Kill its worker twice."""
    note(folder, str(os.getpid()))
    if len(notes(Path(folder))) < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@task(pool="gpu", grace=0.1)
def render_blocks(seconds: float) -> None:
    """Take a slot, and do not wait."""
    time.sleep(seconds)


@task(pool="gpu")
def render_waits() -> list[Any]:
    receive()
    return [*where()]


@task
def plain() -> list[Any]:
    return [*where()]


@task
def hog(seconds: float) -> int:
    """Take a slot, and do not wait."""
    time.sleep(seconds)
    return os.getpid()


@task
def parent() -> str:
    """Start a task of the pool inside of another one."""
    try:
        return str(render.start().result(20)[1])
    except LookupError as error:
        return type(error).__name__


@task(limit=Limit("of the pool tasks", concurrency=10_000), limit_by="key")
def keyed(key: str, seconds: float = 0.0) -> str:
    sleep(seconds)
    return key


@task(pool="gpu", limit=Limit("of the pool", concurrency=1))
def render_one() -> list[Any]:
    return [*where()]


@on("pooled.*", pool="gpu")
def render_event(event: Any) -> list[Any]:
    return [*where()]


class Camera(Actor, pool="gpu", durable=True):
    """An actor in the pool."""

    def __init__(self) -> None:
        self.shots = 0

    def shoot(self) -> list[Any]:
        self.shots += 1
        return [*where(), self.shots]


class Lens(Actor, pool="gpu"):
    """An actor that lives in memory only."""

    def look(self) -> list[Any]:
        return [*where()]

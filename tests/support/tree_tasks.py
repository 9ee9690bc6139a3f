"""Children of supervision trees. Each notes its starts and its ends: in this process, and in the file it is given."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from understudy import Actor, aio, checkpoint, current, ready, receive, restore, sleep, step, task

#: What has happened in this process: "+name" for a start, "-name" for an end in good order.
noted: list[str] = []


def note(file: str | None, what: str) -> None:
    noted.append(what)
    if file is not None:
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(f"{time.time():.6f} {what} {os.getpid()}\n")


@task(name="trees:service", timeout=None, grace=60)
def service(name: str, file: str | None = None, *, says_ready: bool = False) -> str:
    """Runs until it is told what to do, or asked to stop."""
    count = restore() or 0
    note(file, f"+{name}")
    if says_ready:
        ready()
    while True:
        message = receive()
        if message is None or message == {"$cancel": True}:
            note(file, f"-{name}")
            return "stopped"
        count += 1
        checkpoint(count)
        end(name, message, file)


def end(name: str, how: str, file: str | None) -> Any:
    """End as a message says."""
    match how:
        case "raise":
            raise ValueError("told to")
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "count":
            note(file, f"{name}={restore()}")


def next_number(name: str) -> int:
    return sum(each.startswith(f"{name}#") for each in noted)


@task(name="trees:steps", timeout=None)
def steps(name: str) -> None:
    """Notes the value of a step, another one each time that the step runs. Its first attempt fails at a message."""
    note(None, f"{name}#{step(next_number, name)}")
    while receive() is not None:
        if current().attempt == 1:
            raise ValueError("told to")


@task(name="trees:returns", timeout=None)
def returns(name: str, file: str | None = None) -> str:
    """Ends in good order when it gets a message."""
    note(file, f"+{name}")
    receive()
    note(file, f"-{name}")
    return name


@task(name="trees:fails", timeout=None, retry=2)
def fails(name: str, file: str | None = None) -> None:
    """Fails at once, and so do its two retries."""
    note(file, f"+{name}{current().attempt}")
    raise ValueError("at once")


@task(name="trees:late", timeout=0.2, grace=0.1)
def late(name: str, file: str | None = None) -> None:
    """Runs out of time."""
    note(file, f"+{name}")
    sleep(60)


@task(name="trees:shielded", timeout=None, grace=60)
def shielded(name: str, file: str | None = None) -> None:
    """Takes no notice of a cancel, in its waits."""
    note(file, f"+{name}")
    while True:
        sleep(60, shield=True)


@task(name="trees:unhurried", timeout=None, grace=60)
def unhurried(name: str) -> str:
    """Returns 2 s after it was asked to stop."""
    note(None, f"+{name}")
    receive()
    sleep(2, shield=True)
    return "done"


@task(name="trees:stubborn", timeout=None)
def stubborn(name: str, file: str | None = None) -> None:
    """Takes no notice of anything."""
    note(file, f"+{name}")
    while True:
        time.sleep(60)


class Counter(Actor, name="trees:Counter", durable=True):
    """Counts its messages."""

    def __init__(self, name: str = "", file: str | None = None) -> None:
        self.name, self.file, self.count = name, file, 0

    def on_start(self) -> None:
        note(self.file, f"+{self.name}")

    def add(self) -> int:
        self.count += 1
        return self.count


@task(name="trees:member", timeout=None)
async def member(name: str, file: str | None = None, *, fails_at: int = 0, says_ready: bool = False) -> None:
    """One of many. Its attempt of that number fails at its first line."""
    note(file, f"+{name}")
    if current().attempt == fails_at:
        raise ValueError("at once")
    if says_ready:
        ready()
    try:
        await aio.sleep(3600)
    finally:
        note(file, f"-{name}")


#: Seconds; no test takes so long.
DAY = 86_400


@task(name="trees:begins", timeout=DAY)
async def begins(name: str, file: str) -> None:
    """Notes when it began by its worker's clock: its first line may come later than that of another one elsewhere."""
    deadline = current().deadline
    assert deadline is not None
    note_at(deadline - DAY, name, file)
    await aio.sleep(DAY)


def note_at(at: float, name: str, file: str) -> None:
    with Path(file).open("a", encoding="utf-8") as lines:
        lines.write(f"{at:.6f} {name}\n")

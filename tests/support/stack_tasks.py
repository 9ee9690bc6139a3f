"""Tasks that stand still in every way of which a stack can be taken."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

from understudy import Actor, aio, receive, task
from understudy.supervisor.channel.stack_dump import SIGNAL

#: A match that takes longer than the sun will shine, and holds the interpreter meanwhile.
PATTERN, TEXT = r"(a+)+$", "a" * 64 + "b"


def hold() -> Any:
    return re.match(PATTERN, TEXT)


def spin() -> None:
    while True:
        pass


@task(timeout=None)
def loops() -> None:
    spin()


@task(timeout=None)
def sleeps() -> None:
    time.sleep(3600)


@task(timeout=None)
def receives() -> Any:
    return receive()


@task(timeout=None)
def holds() -> Any:
    return hold()


@task(timeout=None, isolate=True)
def holds_alone() -> Any:
    return hold()


async def inner() -> None:
    await aio.receive()


@task(timeout=None)
async def awaits() -> None:
    await inner()


@task(timeout=None)
async def holds_loop() -> Any:
    return hold()


@task(timeout=None, isolate=True)
async def awaits_alone() -> None:
    await inner()


@task(timeout=None)
async def spins_on_loop() -> None:
    await asyncio.sleep(0)
    spin()


@task(timeout=None)
def has_helper() -> None:
    helper = threading.Thread(target=spin, name="helper", daemon=True)
    helper.start()
    helper.join()


def sink(calls: int) -> None:
    if calls:
        sink(calls - 1)
    else:
        time.sleep(3600)


@task(timeout=None)
def deep(calls: int) -> None:
    sink(calls)


@task(timeout=None, isolate=True)
def refuses_signal(folder: str) -> None:
    """Takes the signal away from the runtime, in both ways, and counts how often it comes."""
    signal.signal(SIGNAL, signal.SIG_DFL)
    Path(folder, "refused").touch()
    hold()


@task(timeout=None, isolate=True)
def forks_and_handles(folder: str) -> list[str]:
    """Has a handler of its own for a signal, a child that is a fork and one that is a program, and waits in calls."""
    got: list[str] = []
    signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
    pid = os.fork()
    if not pid:
        os.kill(os.getpid(), signal.SIGUSR2 if signal.getsignal(SIGNAL) is signal.SIG_DFL else signal.SIGTERM)
        os._exit(3)
    Path(folder, "ready").touch()
    while not Path(folder, "go").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGUSR1)
    _, status = os.waitpid(pid, 0)
    return [*got, str(os.waitstatus_to_exitcode(status))]


@task
def quick(number: int) -> int:
    return number


class Desk(Actor):
    def work(self) -> None:
        time.sleep(3600)

    def hold(self) -> None:
        hold()

    def rest(self) -> str:
        return "rested"

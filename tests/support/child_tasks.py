"""Tasks that start processes, and wait for them late or never."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from understudy import Retry, current, receive, sleep, task
from understudy.supervisor.linux.processes import children_of, is_zombie
from understudy.supervisor.rules import pace
from understudy.supervisor.worker.reaper import Reaper

#: Ends after its parent: the worker inherits it.
ORPHAN = "sleep 0.05 & echo $!"


def zombies() -> list[int]:
    return [pid for pid in children_of(os.getpid()) if is_zombie(pid)]


def until_the_reaper_has_looked() -> None:
    """Leave an orphan, and wait until its zombie is gone."""
    said = subprocess.run(["sh", "-c", ORPHAN], check=True, stdout=subprocess.PIPE, text=True)
    pid = int(said.stdout)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.01)


def until_ended(pid: int) -> None:
    while not is_zombie(pid):
        time.sleep(0.001)


def by_popen() -> Any:
    child = subprocess.Popen(["sh", "-c", "exit 3"])
    until_ended(child.pid)
    until_the_reaper_has_looked()
    return child.wait()


def by_fork() -> Any:
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    until_ended(pid)
    until_the_reaper_has_looked()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_spawn() -> Any:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})
    until_ended(pid)
    until_the_reaper_has_looked()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_multiprocessing() -> Any:
    child = multiprocessing.get_context("fork").Process(target=os._exit, args=(3,))
    child.start()
    assert child.pid is not None
    until_ended(child.pid)
    until_the_reaper_has_looked()
    child.join()
    return child.exitcode


def by_a_thread_that_has_ended() -> Any:
    made: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: made.append(subprocess.Popen(["sh", "-c", "exit 3"])))
    thread.start()
    thread.join()
    until_ended(made[0].pid)
    until_the_reaper_has_looked()
    return made[0].wait()


WAYS: dict[str, Callable[[], Any]] = {
    way.__name__: way for way in (by_popen, by_fork, by_spawn, by_multiprocessing, by_a_thread_that_has_ended)
}


@task
def waits_late(way: str) -> Any:
    return WAYS[way]()


@task
async def waits_late_async() -> Any:
    child = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
    await asyncio.to_thread(until_the_reaper_has_looked)
    return await child.wait()


@task
def leaves_orphans(count: int) -> None:
    for _ in range(count):
        subprocess.run(["sh", "-c", ORPHAN], check=True, stdout=subprocess.DEVNULL)


@task
def leaves_popen() -> None:
    """Nobody waits for it, and its object has gone before it ends."""
    reads, writes = os.pipe()
    subprocess.Popen(["cat"], stdin=reads)
    os.close(reads)
    os.close(writes)


@task
def awaited_popens() -> list[int]:
    """Pids of the processes for which Python waits itself, because their objects are gone."""
    return [popen.pid for popen in subprocess._active if popen.returncode is None]  # type: ignore[attr-defined]


@task
def leaves_fork() -> None:
    if os.fork() == 0:
        os._exit(0)


@task
def forks_after_quick_attempts(forks: bool) -> bool:
    """All attempts count as quick but the one that leaves a process. Whether the reaper looks for processes."""
    vars(pace)["IN_A_ROW"] = 0.0 if forks else 60.0
    if forks and os.fork() == 0:
        os._exit(0)
    (reaper,) = (found for found in gc.get_objects() if isinstance(found, Reaper))
    return reaper._work.is_set()


@task
def waits() -> Any:
    return receive()


@task(retry=Retry(attempts=1, delay=0))
def keeps_children(folder: str) -> None:
    """Waits with an orphan, a child and a zombie, whose pids are in the file of the attempt."""
    orphan = subprocess.run(
        ["sh", "-c", "sleep 600 >&- & echo $!"], check=True, stdout=subprocess.PIPE, text=True
    )
    child, zombie = subprocess.Popen(["sleep", "600"]), subprocess.Popen(["true"])
    until_ended(zombie.pid)
    pids = [int(orphan.stdout), child.pid, zombie.pid]
    draft = Path(folder, "draft")
    draft.write_text(" ".join(map(str, pids)))
    draft.rename(Path(folder, f"attempt-{current().attempt}"))
    sleep(3600)

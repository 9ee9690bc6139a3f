"""Deaths of real children, told once each."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from puppets import async_until
from understudy.supervisor.linux.child_watch import ChildWatch
from understudy.supervisor.linux.processes import ExitStatus, has_ended
from waiting import until


def child(end: Callable[[], object]) -> int:
    if pid := os.fork():
        return pid
    try:
        end()
    finally:
        os._exit(1)


async def told(*pids: int) -> list[tuple[int, ExitStatus]]:
    """Watch until as many deaths are told."""
    found: list[tuple[int, ExitStatus]] = []
    watch = ChildWatch(lambda pid, status: found.append((pid, status)))
    for pid in pids:
        watch.watch(pid)
        watch.watch(pid)  # Twice is once.
    assert found == []
    await async_until(lambda: len(found) >= len(pids))
    await asyncio.sleep(0)
    assert watch.pids == set()
    return found


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda: os._exit(3), ExitStatus(code=3)),
        (lambda: os._exit(0), ExitStatus(code=0)),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), ExitStatus(signal=9)),
    ],
    ids=["code", "success", "signal"],
)
def test_how_it_ended(end: Callable[[], object], status: ExitStatus):
    pid = child(end)
    assert asyncio.run(told(pid)) == [(pid, status)]
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_one_that_is_a_zombie_already():
    pid = child(lambda: os._exit(4))
    until(lambda: has_ended(pid))
    assert asyncio.run(told(pid)) == [(pid, ExitStatus(code=4))]


def test_one_that_somebody_else_reaped():
    process = subprocess.Popen(["true"])
    process.wait()
    assert asyncio.run(told(process.pid)) == [(process.pid, ExitStatus())]


def test_many():
    pids = [child(lambda n=n: os._exit(n)) for n in range(30)]
    found = asyncio.run(told(*pids))
    assert sorted(found) == sorted((pid, ExitStatus(code=n)) for n, pid in enumerate(pids))


def test_forgotten_is_not_told():
    found: list[int] = []
    pids: list[int] = []

    async def forget() -> None:
        watch = ChildWatch(lambda pid, _: found.append(pid))
        pid = child(lambda: os._exit(0))
        watch.watch(pid)
        watch.forget(pid)
        watch.forget(pid)
        other = child(lambda: os._exit(0))
        watch.watch(other)
        watch.close()
        pids.extend([pid, other])
        await async_until(lambda: has_ended(pid) and has_ended(other))
        await asyncio.sleep(0)

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(forget())
    for pid in pids:
        os.waitpid(pid, 0)
    assert found == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_callback_may_watch_the_next():
    async def chain() -> list[int | None]:
        codes: list[int | None] = []

        def on_exit(_: int, status: ExitStatus) -> None:
            codes.append(status.code)
            if len(codes) < 3:
                watch.watch(child(lambda: os._exit(len(codes))))

        watch = ChildWatch(on_exit)
        watch.watch(child(lambda: os._exit(0)))
        await async_until(lambda: len(codes) >= 3)
        return codes

    assert asyncio.run(chain()) == [0, 1, 2]

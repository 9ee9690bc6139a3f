"""Unique tasks on real processes: many that start one at once, and kills of supervisors at each point of a start."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import limit_tasks
import unique_tasks as tasks
from puppets import program, said
from theatre import PATIENCE, runtime
from understudy import AsyncRuntime, Executor, NotUnique, Runtime, State
from understudy.storage.check import check
from understudy.supervisor.testing.crash_points import VARIABLE
from understudy.testing import kill_supervisor, kill_worker
from waiting import until

APP = "unique_tasks"
THREADS = 16

PROGRAM = """
import sys, threading
import unique_tasks as tasks
from understudy import Runtime

home, folder, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Runtime.connect(home) as rt:
    print(repr("ready"), flush=True)
    sys.stdin.readline()
    infos = []
    def start():
        infos.append(rt.start(tasks.once, folder, "one", 60.0))
    several = [threading.Thread(target=start) for _ in range(threads)]
    for each in several: each.start()
    for each in several: each.join()
    for info in infos: print(info.id, info.existing)
"""


def begins(folder: Path) -> Counter[str]:
    """How many attempts of each name have begun."""
    return Counter(line[1] for line in limit_tasks.lines(folder) if line[0] == "+")


def at_once(count: int, start: Callable[[], None]) -> None:
    threads = [threading.Thread(target=start) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_of_several_processes_start_one_at_once(home: Path, tmp_path: Path):
    with runtime(home, app=APP) as rt:
        rt.ping()
        clients = [program(PROGRAM, str(home), str(tmp_path), str(THREADS)) for _ in range(3)]
        for client in clients:
            assert said(client) == "ready"
        started = []
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("\n")
            client.stdin.flush()
        at_once(THREADS, lambda: started.append(rt.start(tasks.once, str(tmp_path), "one", 60.0)))
        told = [(info.id, str(info.existing)) for info in started]
        for client in clients:
            out, _ = client.communicate(timeout=PATIENCE)
            assert client.returncode == 0
            told += [(id, existing) for id, existing in (line.split() for line in out.splitlines())]
        assert len(told) == 4 * THREADS
        assert len({id for id, _ in told}) == 1
        assert Counter(existing for _, existing in told) == {"False": 1, "True": 4 * THREADS - 1}
        assert len(rt.list(limit=100)) == 1
        rt.cancel(told[0][0])
        rt.wait(told[0][0], timeout=PATIENCE)
    assert check(home).problems == []


@pytest.mark.parametrize(
    "moment",
    [
        "commit.before:2",
        "commit.after:2",
        "acknowledge.before:2",
        "answer.before:3",
        "dispatch.before:1",
        "commit.before:3",
        "commit.after:3",
        "result.before:1",
    ],
)
def test_a_start_takes_effect_once_though_the_supervisor_dies_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"{moment}@{died}")
    with runtime(home, app=APP) as rt:
        rt.ping()
        infos = [rt.start(tasks.once, str(tmp_path), "one", 60.0) for _ in range(3)]
        assert {info.id for info in infos} == {infos[0].id}
        until(lambda: infos[0].status().worker_pid is not None, PATIENCE)
        infos[0].cancel()
        assert infos[0].wait(timeout=PATIENCE).state is State.CANCELLED
        until(died.exists, PATIENCE)
        again = rt.start(tasks.once, str(tmp_path), "one", 60.0)
        assert not again.existing
        assert again.id != infos[0].id
        again.cancel()
        hourly = rt.start(tasks.hourly, str(tmp_path), "hour")
        rt.result(hourly, timeout=PATIENCE)
        kill_supervisor(rt)
        assert rt.start(tasks.hourly, str(tmp_path), "hour").id == hourly.id
        assert len(rt.list(limit=100)) == 3
    assert check(home).problems == []


@pytest.mark.parametrize(
    "moment", ["commit.before:4", "commit.after:4", "acknowledge.before:4", "answer.before:5"]
)
def test_the_newest_arguments_are_never_lost(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"{moment}@{died}")
    with runtime(home, app=APP) as rt:
        rt.ping()
        later = tasks.newest.options(delay=0.3)
        for version in range(1, 40):
            info = rt.start(later, str(tmp_path), "page", version, 0.05)
        until(died.exists, PATIENCE)
        assert rt.result(info, timeout=PATIENCE) == 39
        until(lambda: not rt.list(state=State.QUEUED), PATIENCE)
        assert sum(record.state is not State.COMPLETED for record in rt.list(limit=100)) == 0
    notes = limit_tasks.lines(tmp_path)
    ended = [int(line[1].partition("/")[2]) for line in notes if line[0] == "-"]
    assert ended == sorted(ended)
    assert ended[-1] == 39
    assert check(home).problems == []


def test_replaced_again_and_again_under_kills(home: Path, tmp_path: Path):
    with runtime(home, app=APP, workers=2) as rt:
        for version in range(1, 31):
            for name in "ab":
                info = rt.start(tasks.newest, str(tmp_path), name, version, 0.05)
            if version % 10 == 0:
                kill_supervisor(rt)
            elif version % 7 == 0 and info.status().worker_pid:
                kill_worker(info)
        for name in "ab":
            rt.result(rt.start(tasks.newest, str(tmp_path), name, 31, 0.0), timeout=PATIENCE)
        until(lambda: not rt.list(state=State.QUEUED) and not rt.list(state=State.RUNNING), PATIENCE)
    running: dict[str, str] = {}
    for what, name, pid, _ in limit_tasks.lines(tmp_path):
        text = name.partition("/")[0]
        if what == "-":
            assert running.pop(text, pid) == pid
        else:
            running[text] = pid
    assert check(home).problems == []


def test_async_runtimes_tasks_and_handlers(home: Path, tmp_path: Path):
    asyncio.run(starts_of_an_async_runtime(home, str(tmp_path)))


async def starts_of_an_async_runtime(home: Path, folder: str) -> None:
    async with AsyncRuntime(home, app=APP, workers=1, drain=1.0) as rt:
        first = await rt.start(tasks.once, folder, "one", 60.0)
        assert await rt.run(tasks.starts_one, folder, "one", timeout=PATIENCE) == (first.id, True)
        second = await rt.start(tasks.once, folder, "one", 60.0)
        assert (second.id, second.existing) == (first.id, True)
        many = await rt.start_many(tasks.once, [(folder, "one", 60.0), (folder, "two", 60.0)])
        assert [info.existing for info in many] == [True, False]
        slow = await rt.start(tasks.once_async.options(delay=60), folder, "three")
        with pytest.raises(NotUnique) as caught:
            await rt.run(tasks.once_async, folder, "three", timeout=PATIENCE)
        assert caught.value.id == slow.id
        one, two = await rt.emit("unique.came", 1), await rt.emit("unique.came", 2)
        assert one.runs == two.runs
        for id in (first.id, many[1].id, slow.id, one.runs[0]):
            await rt.cancel(id)
            await rt.wait(id, timeout=PATIENCE)
        assert await rt.run(tasks.once, folder, "one", 0.0, timeout=PATIENCE) == "one"


def test_an_executor_gives_the_end_of_the_one_that_is_there(home: Path, tmp_path: Path):
    with runtime(home, app=APP) as rt:
        slow = rt.start(tasks.once_async.options(delay=60), str(tmp_path), "three")
        with Executor(rt) as pool:
            futures = [pool.submit(tasks.once, str(tmp_path), "one", 0.5) for _ in range(5)]
            refused = pool.submit(tasks.once_async, str(tmp_path), "three")
            other = pool.submit(tasks.once, str(tmp_path), "two", 0.0)
            assert [future.result(PATIENCE) for future in futures] == ["one"] * 5
            assert other.result(PATIENCE) == "two"
            with pytest.raises(NotUnique) as caught:
                refused.result(PATIENCE)
            assert caught.value.id == slow.id
            assert len({future.id for future in futures}) == 1
        slow.cancel()
    assert begins(tmp_path) == {"one": 1, "two": 1}


def test_one_that_is_there_on_a_supervisor_of_others(home: Path, tmp_path: Path):
    with runtime(home, app=APP) as rt, Runtime.connect(home) as other:
        first = rt.start("unique_tasks:once", str(tmp_path), "one", 60.0)
        second = other.start("unique_tasks:once", folder=str(tmp_path), name="one", seconds=60.0)
        assert (second.id, second.existing) == (first.id, True)
        assert second.cancel()

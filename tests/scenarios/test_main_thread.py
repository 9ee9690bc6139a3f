"""An isolated task has the main thread of its process, and is stopped there like any other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import thread_tasks as tasks
from theatre import PATIENCE, for_many_tests, gone, parked, running, runtime
from understudy import InvalidOption, Runtime, TaskCancelled
from understudy.actors.task.options import MEMORY_LIMIT_MIN


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("h") / "home"
    with for_many_tests(runtime(home, app="thread_tasks", restarts=1_000)) as made:
        yield made


MAIN = ["on_main", "on_main_async"]


@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize(
    "options",
    [
        {"isolate": True},
        {"isolate": True, "main_thread": True},
        {"main_thread": True, "memory_limit": 1 << 30},
    ],
    ids=["isolate", "main thread", "memory limit"],
)
def test_signals_are_handled_there(rt: Runtime, name: str, options: dict[str, object]) -> None:
    info = getattr(tasks, name).options(**options).start()
    assert info.result(PATIENCE) == ["MainThread", "SIGUSR1"]


def test_other_tasks_run_on_other_threads(rt: Runtime) -> None:
    assert rt.run(tasks.thread_name, timeout=PATIENCE) != "MainThread"
    assert tasks.thread_name.options(isolate=True).start().result(PATIENCE) == "MainThread"


@pytest.mark.parametrize("name", ["waits", "waits_async", "computes"])
@pytest.mark.parametrize("way", ["cancel", "timeout"])
def test_it_is_stopped(rt: Runtime, name: str, way: str) -> None:
    options = {"isolate": True, "main_thread": True, "grace": 0.2}
    timeout = 0.5 if way == "timeout" else None
    info = getattr(tasks, name).options(**options, timeout=timeout).start()
    (row,) = running([info], rt)
    if name != "computes":
        parked([info], rt)
    if way == "cancel":
        info.cancel()
    record = info.wait(PATIENCE)
    assert record.state == ("cancelled" if way == "cancel" else "timed_out")
    gone([row["pid"]])


def test_messages_and_checkpoints_reach_it(rt: Runtime) -> None:
    info = tasks.echoes.options(isolate=True).start()
    parked([info], rt)
    info.send("hello")
    assert info.result(PATIENCE) == ["hello", "hello"]


def test_a_drain_interrupts_it(home: Path) -> None:
    with runtime(home, app="thread_tasks", drain=PATIENCE) as rt:
        info = tasks.waits.options(isolate=True).start()
        parked([info], rt)
        begun = time.monotonic()
    assert time.monotonic() - begun < PATIENCE / 2, "it was not woken"
    with runtime(home, app="thread_tasks") as rt:
        parked([info], rt)
        assert rt.status(info.id).interruptions == 1
        rt.cancel(info.id)
        with pytest.raises(TaskCancelled):
            rt.result(info.id, PATIENCE)


def test_without_a_worker_of_its_own_it_is_refused() -> None:
    with pytest.raises(InvalidOption, match="main_thread=True needs isolate=True"):
        tasks.thread_name.options(main_thread=True)
    needs = tasks.thread_name.options(main_thread=True, memory_limit=MEMORY_LIMIT_MIN)
    with pytest.raises(InvalidOption, match="main_thread"):
        needs.options(memory_limit=None)

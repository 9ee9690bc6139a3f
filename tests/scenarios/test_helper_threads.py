"""Threads that a task starts belong to it: its log, its children, its slot, its blame."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import thread_tasks as tasks
from puppets import said
from theatre import PATIENCE, for_many_tests, kill, parked, ready, running, runtime, seen, serving
from understudy import Runtime, TaskInfo
from understudy.actors.attempt.loop_executor import EACH
from waiting import until


def threads(home: Path, **settings: Any) -> Runtime:
    return runtime(home, app="thread_tasks", slots=1, **settings)


@pytest.fixture(scope="module")
def rt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with for_many_tests(threads(tmp_path_factory.mktemp("h") / "home", restarts=1_000)) as made:
        yield made


def test_children_that_are_awaited_in_threads_need_no_second_slot(rt: Runtime) -> None:
    assert rt.run(tasks.fans_out, 5, timeout=PATIENCE) == 10
    assert rt.run(tasks.fans_out, 3, timeout=PATIENCE) == 3
    assert rt.run(tasks.same, "after", timeout=PATIENCE) == "after"


def test_what_threads_print_is_in_the_log_of_their_task(rt: Runtime) -> None:
    infos = [tasks.prints.start(text) for text in ("one", "two")]
    for info, text in zip(infos, ("one", "two"), strict=True):
        info.wait(PATIENCE)
        assert [line.text for line in rt.logs(info.id)] == [f"{text} thread", f"{text} pool"]


def test_a_task_that_works_keeps_its_slot_while_a_helper_waits(rt: Runtime, tmp_path: Path) -> None:
    ready(rt, 1)
    info = tasks.works_beside_a_sleeper.start(str(tmp_path))
    seen(tmp_path, "works")
    behind = tasks.same.start("behind")
    (row,) = running([info], rt)
    assert not row["parked"]
    assert behind.status().started is None
    (tmp_path / "go").touch()
    assert behind.result(PATIENCE) == "behind"
    record, then = info.wait(PATIENCE), behind.status()
    assert record.ended is not None
    assert then.started is not None
    assert then.started >= record.ended - 0.001, "it began beside the task that worked"


def blamed(info: TaskInfo[Any], waiting: list[TaskInfo[Any]]) -> None:
    """A task has failed by the death of its worker, and those that waited beside it go on."""
    record = info.wait(PATIENCE)
    assert record.error is not None
    assert (record.state, record.error.type) == ("failed", "WorkerDied")
    for other in waiting:
        other.send("on")
        assert other.result(PATIENCE) == "on"


def test_a_task_that_works_beside_its_waiting_helper_is_to_blame(rt: Runtime, tmp_path: Path) -> None:
    ready(rt, 1)
    waiting = [tasks.waits.start() for _ in range(2)]
    parked(waiting, rt)
    info = tasks.works_beside_a_sleeper.start(str(tmp_path), "kill")
    seen(tmp_path, "works")
    (tmp_path / "go").touch()
    blamed(info, waiting)
    assert [other.status().interruptions for other in waiting] == [1, 1]


def test_helpers_that_are_left_waiting_take_no_slot_with_them(home: Path, tmp_path: Path) -> None:
    with threads(home) as rt:
        for _ in range(5):
            tasks.leaves_a_sleeper.start().result(PATIENCE)
        info = tasks.works_beside_a_sleeper.start(str(tmp_path))
        seen(tmp_path, "works")
        behind = tasks.same.start("behind")
        running([info], rt)
        (tmp_path / "go").touch()
        assert behind.result(PATIENCE) == "behind"
        record = info.wait(PATIENCE)
        until(lambda: behind.status().ended, PATIENCE)
        assert record.ended is not None
        assert (behind.status().started or 0) >= record.ended - 0.001, "there was one slot for two"


def test_what_helpers_receive_comes_again_after_a_kill_and_after_a_drain(home: Path, tmp_path: Path) -> None:
    with runtime(home, app="thread_tasks", drain=0.1) as rt:
        waiting = tasks.waits.start()
        helped, pooled = tasks.collects_by_a_helper.start(str(tmp_path), 3), tasks.receives_in_a_pool.start(2)
        rt.send_many((helped.id, number) for number in range(3))
        seen(tmp_path, "got-1-0")
        parked([waiting, pooled], rt)
        (row,) = running([helped], rt)
        assert not row["parked"]
        kill(row["pid"])
        seen(tmp_path, "got-2-0")
        until(lambda: waiting.status().interruptions == pooled.status().interruptions == 1, PATIENCE)
        parked([waiting, pooled], rt)
    (tmp_path / "go").touch()
    with threads(home) as rt:
        assert rt.result(helped.id, PATIENCE) == [0, 1, 2]
        rt.send_many([(pooled.id, 1), (pooled.id, 2), (waiting.id, 3)])
        assert rt.result(pooled.id, PATIENCE) == [1, 2]
        assert rt.result(waiting.id, PATIENCE) == 3
        records = [rt.status(info.id) for info in (helped, pooled, waiting)]
        assert [(each.attempt, each.interruptions) for each in records] == [(2, 1), (1, 2), (1, 2)]


def test_a_task_is_to_blame_for_what_a_thread_of_its_pool_does(rt: Runtime, tmp_path: Path) -> None:
    ready(rt, 1)
    waiting = [tasks.waits.start() for _ in range(2)]
    parked(waiting, rt)
    info = tasks.dies_in_a_pool.start(str(tmp_path))
    seen(tmp_path, "works")
    (tmp_path / "go").touch()
    blamed(info, waiting)


def test_a_drain_lets_blocking_calls_of_coroutines_end_and_waits_for_none_that_hangs(
    home: Path, tmp_path: Path
) -> None:
    with serving(home, "thread_tasks", drain=60.0) as supervisor:
        assert said(supervisor) == ["ready"]
        with Runtime.connect(home) as rt:
            blocks = rt.start(tasks.blocks_threads, str(tmp_path), EACH)
            for number in range(EACH):
                seen(tmp_path, f"blocked-{number}")
            calls = rt.start(tasks.calls_in_a_thread, str(tmp_path))
            seen(tmp_path, "calls")
            supervisor.send_signal(signal.SIGTERM)
            until(lambda: rt.tree()["draining"], PATIENCE)
            (tmp_path / "go").touch()
            assert calls.result(PATIENCE) == "called"
            supervisor.send_signal(signal.SIGTERM)
            assert said(supervisor) == ["stopped"]
            assert (blocks.status().state, blocks.status().interruptions) == ("queued", 1)

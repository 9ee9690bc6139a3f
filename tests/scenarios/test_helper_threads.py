"""Threads that a task starts belong to it: its log, its children, its slot, its blame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import thread_tasks as tasks
from theatre import PATIENCE, parked, ready, running, runtime, seen
from understudy import Runtime
from waiting import until


def threads(home: Path, **settings: Any) -> Runtime:
    return runtime(home, app="thread_tasks", slots=1, **settings)


def test_children_that_are_awaited_in_threads_need_no_second_slot(home: Path) -> None:
    with threads(home) as rt:
        assert rt.run(tasks.fans_out, 5, timeout=PATIENCE) == 10
        assert rt.run(tasks.fans_out, 3, timeout=PATIENCE) == 3
        assert rt.run(tasks.same, "after", timeout=PATIENCE) == "after"


def test_what_threads_print_is_in_the_log_of_their_task(home: Path) -> None:
    with threads(home) as rt:
        infos = [tasks.prints.start(text) for text in ("one", "two")]
        for info, text in zip(infos, ("one", "two"), strict=True):
            info.wait(PATIENCE)
            assert [line.text for line in rt.logs(info.id)] == [f"{text} thread", f"{text} pool"]


def test_a_task_that_works_keeps_its_slot_while_a_helper_waits(home: Path, tmp_path: Path) -> None:
    with threads(home) as rt:
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


def test_a_task_that_works_beside_its_waiting_helper_is_to_blame(home: Path, tmp_path: Path) -> None:
    with threads(home) as rt:
        ready(rt, 1)
        waiting = [tasks.waits.start() for _ in range(2)]
        parked(waiting, rt)
        info = tasks.works_beside_a_sleeper.start(str(tmp_path), "kill")
        seen(tmp_path, "works")
        (tmp_path / "go").touch()
        record = info.wait(PATIENCE)
        assert record.error is not None
        assert (record.state, record.error.type) == ("failed", "WorkerDied")
        for other in waiting:
            other.send("on")
            assert other.result(PATIENCE) == "on"
            assert other.status().interruptions == 1


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

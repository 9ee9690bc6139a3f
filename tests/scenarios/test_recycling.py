"""Workers that reach a limit of tasks or memory are replaced, and no task is lost; isolated tasks get their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import stage_tasks as stage
from theatre import PATIENCE, ended, gone, parked, ready, runtime, seen
from understudy import Runtime, TaskFailed
from waiting import until


def test_after_so_many_tasks(home: Path) -> None:
    with runtime(home, worker_tasks=20, durability="os") as rt:
        waits = [stage.total.start(), stage.total_async.start()]
        parked(waits, rt)
        infos = rt.start_many(stage.pid, [()] * 200)
        workers = set(rt.results(infos, PATIENCE))
        assert len(workers) > 1
        assert {record.attempt for record in ended(infos)} == {1}
        # Busy without a pause, or with waiting tasks: it is replaced all the same, and its tasks continue
        # elsewhere.
        gone([rt.result(infos[0].id)])
        for info in waits:
            info.send(2)
            info.close()
            assert info.result(PATIENCE) == 2
            assert info.status().attempt == 1
            assert info.status().interruptions >= 1


def test_after_so_much_memory(home: Path) -> None:
    with runtime(home, worker_memory=200 * 1024 * 1024) as rt:
        waits = stage.total.start()
        parked([waits], rt)
        (worker,) = ready(rt, 1)
        assert rt.run(stage.hoards, 300, timeout=PATIENCE) == worker
        gone([worker])
        assert rt.run(stage.pid, timeout=PATIENCE) != worker
        waits.close()
        assert waits.result(PATIENCE) == 0
        assert waits.status().attempt == 1


def test_who_kills_a_worker_that_is_being_replaced_is_blamed(home: Path, tmp_path: Path) -> None:
    with runtime(home, workers=1, worker_tasks=20) as rt:
        info = stage.dies_when_free.start("kill", str(tmp_path))
        until((tmp_path / "begun").exists, PATIENCE)
        (worker,) = ready(rt, 1)
        list(rt.results(rt.start_many(stage.pid, [()] * 100), PATIENCE))
        # It is replaced: the others run elsewhere, and it lives on for this one.
        assert rt.run(stage.pid, timeout=PATIENCE) != worker
        (tmp_path / "crash").touch()
        with pytest.raises(TaskFailed) as failed:
            info.result(PATIENCE)
        assert failed.value.error.type == "WorkerDied"
        assert (info.status().attempt, info.status().interruptions) == (1, 0)


def rows_alone(rt: Runtime) -> list[dict[str, Any]]:
    """The workers that have exactly one task."""
    return [worker for worker in rt.tree()["workers"] if worker["alone"] and worker["task_count"] == 1]


def test_isolated_tasks_have_a_worker_of_their_own(home: Path, tmp_path: Path) -> None:
    with runtime(home, isolated=2) as rt:
        (shared,) = ready(rt, 1)
        infos = [stage.working.options(isolate=True).start(str(tmp_path), f"works-{n}") for n in range(4)]
        until(lambda: len(list(tmp_path.glob("works-*"))) == 2, PATIENCE)
        rows = rows_alone(rt)
        assert shared not in {row["pid"] for row in rows}
        assert len({row["pid"] for row in rows}) == len(rows) == 2
        assert rt.run(stage.pid, timeout=PATIENCE) == shared
        (tmp_path / "go").touch()
        assert [info.result(PATIENCE) for info in infos] == [[1, 0]] * 4
        pids = [int(seen(tmp_path, f"works-{n}")) for n in range(4)]
        assert len(set(pids)) == 4
        gone(pids)
        own = stage.waits_for_async.options(isolate=True).start(stage.total.start().id)
        parked([own], rt)
        assert own.cancel()
        assert own.wait(PATIENCE).state == "cancelled"
        assert ready(rt, 1) == [shared]
    assert os.getpid() not in pids

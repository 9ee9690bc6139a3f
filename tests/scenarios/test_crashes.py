"""A worker dies during a task: the task to blame fails with its exit code or signal, the others continue."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import stage_tasks as stage
from theatre import PATIENCE, cookie, ended, gone, kill, parked, processes_of, ready, running, runtime, seen
from understudy import Poisoned, Retry, TaskFailed
from waiting import until

DEATHS = {"exit": {"exit_code": 7}, "segfault": {"signal": "SIGSEGV"}, "kill": {"signal": "SIGKILL"}}


def test_the_attempt_fails_with_how_its_worker_died(home: Path) -> None:
    with runtime(home) as rt:
        ready(rt, 1)
        for how, details in DEATHS.items():
            waits = [stage.total.start(), stage.parked.start(0.5), stage.total_async.start()]
            parked(waits, rt)
            worker = running(waits, rt)[0]["pid"]
            info = stage.dies.start(how)
            with pytest.raises(TaskFailed) as caught:
                info.result(PATIENCE)
            error = caught.value.error
            assert error is not None
            assert error.type == "WorkerDied"
            assert error.details == {"pid": worker, **details}
            assert str(worker) in error.message
            # The waiting tasks beside it are not suspected: they continue on another ordinary worker.
            assert not any(row["alone"] for row in running([waits[0], waits[2]], rt))
            for waiting in (waits[0], waits[2]):
                waiting.send(3)
                waiting.close()
                assert waiting.result(PATIENCE) == 3
            assert waits[1].result(PATIENCE) == [True, 1, 1]
            assert {waiting.status().interruptions for waiting in waits} == {1}


def test_what_it_leaves_behind_dies_with_it(home: Path) -> None:
    with runtime(home, workers=2) as rt:
        ready(rt, 2)
        mark = cookie(rt)
        infos = [stage.dies.start("orphan") for _ in range(2)]
        assert {record.state for record in ended(infos)} == {"failed"}
        ready(rt, 2)
        until(lambda: len(processes_of(mark)) == 3, PATIENCE, lambda: str(processes_of(mark)))


@pytest.mark.parametrize("crashes", [2, 3])
def test_the_third_death_poisons(home: Path, crashes: int) -> None:
    with runtime(home):
        info = stage.dies.options(retry=Retry(attempts=10, delay=0.01)).start("exit", crashes)
        if crashes == 2:
            assert info.result(PATIENCE) == [3, 0]
            return
        with pytest.raises(Poisoned) as caught:
            info.result(PATIENCE)
        assert caught.value.error is not None
        assert caught.value.error.details["crashes"] == 3
        assert info.status().state == "failed"
        assert info.status().attempt == 3


def test_among_several_the_culprit_is_found(home: Path, tmp_path: Path) -> None:
    with runtime(home) as rt:
        ready(rt, 1)
        waits = stage.total.start()
        parked([waits], rt)
        innocent = [stage.working.start(str(tmp_path), f"working-{n}") for n in range(3)]
        culprit = stage.dies_when_free.start("exit", str(tmp_path))
        running([waits, *innocent, culprit], rt)
        for n in range(3):
            seen(tmp_path, f"working-{n}")
        seen(tmp_path, "begun")
        (tmp_path / "crash").touch()
        with pytest.raises(TaskFailed) as caught:
            culprit.result(PATIENCE)
        assert caught.value.error is not None
        assert caught.value.error.type == "WorkerDied"
        # Each suspect runs again in a worker of its own; waiting tasks do not.
        rows = running([*innocent, waits], rt)
        assert [row["alone"] for row in rows if row["task"].endswith(":working")] == [True] * 3
        assert [row["alone"] for row in rows if row["task"].endswith(":total")] == [False]
        (tmp_path / "go").touch()
        assert [info.result(PATIENCE) for info in innocent] == [[1, 1]] * 3
        waits.close()
        assert waits.result(PATIENCE) == 0
        assert culprit.status().interruptions == 1


@pytest.mark.parametrize("beside", [0, 1])
def test_one_that_dies_as_it_wakes_is_to_blame(home: Path, tmp_path: Path, beside: int) -> None:
    """It could not report that it no longer waits; no other task may fail for it."""
    with runtime(home) as rt:
        ready(rt, 1)
        waits = stage.total.start()
        culprit = stage.dies_when_told.start("exit")
        parked([waits, culprit], rt)
        innocent = [stage.working.start(str(tmp_path), f"working-{n}") for n in range(beside)]
        for n in range(beside):
            seen(tmp_path, f"working-{n}")
        culprit.send("now")
        assert culprit.wait(PATIENCE).state == "failed"
        (tmp_path / "go").touch()
        assert [info.result(PATIENCE) for info in innocent] == [[1, 1]] * beside
        waits.close()
        assert waits.result(PATIENCE) == 0


def test_where_all_wait_nobody_is_to_blame(home: Path) -> None:
    with runtime(home, max_crashes=2) as rt:
        infos = [stage.total.start() for _ in range(3)]
        for death in range(2):
            parked(infos, rt)
            rows = running(infos, rt)
            assert not any(row["alone"] for row in rows)
            kill(rows[0]["pid"])
            until(lambda n=death + 1: all(info.status().interruptions == n for info in infos), PATIENCE)
        # A worker has died twice without a known reason: from now on each task runs in a worker of its own.
        parked(infos, rt)
        assert all(row["alone"] for row in running(infos, rt))
        for info in infos:
            info.send(1)
            info.close()
        assert [info.result(PATIENCE) for info in infos] == [1, 1, 1]
        assert {record.attempt for record in ended(infos)} == {1}


def test_results_told_before_the_death_stand(home: Path) -> None:
    with runtime(home) as rt:
        ready(rt, 1)
        infos: list[Any] = [stage.add.start(n, 1) for n in range(50)]
        last = stage.dies.start("exit")
        assert last.wait(PATIENCE).state == "failed"
        assert [info.result(PATIENCE) for info in infos] == list(range(1, 51))
        assert {info.status().attempt for info in infos} == {1}


def test_more_memory_than_the_limit(home: Path, tmp_path: Path) -> None:
    with runtime(home) as rt:
        ready(rt, 1)
        beside = stage.working.start(str(tmp_path), "working")
        worker = int(seen(tmp_path, "working"))
        frugal, greedy = stage.eats.start(10), stage.eats.start(1000)
        record = greedy.wait(PATIENCE)
        assert record.state == "failed"
        assert record.error is not None
        assert record.error.type == "MemoryLimit"
        assert record.error.details["limit"] == 150 * 1024 * 1024
        assert record.error.details["signal"] == "SIGKILL"
        gone([record.error.details["pid"]])
        assert frugal.result(PATIENCE) == 10
        (tmp_path / "go").touch()
        assert beside.result(PATIENCE) == [1, 0]
        assert rt.run(stage.pid, timeout=PATIENCE) == worker


def test_the_fork_server_is_killed(home: Path, tmp_path: Path) -> None:
    """Workers are not affected, and new ones come from the next fork server."""
    with runtime(home) as rt:
        (worker,) = ready(rt, 1)
        info = stage.working.start(str(tmp_path), "working")
        seen(tmp_path, "working")
        first = rt.tree()["fork_server"]
        kill(first)
        until(lambda: rt.tree()["fork_server"] not in (None, first), PATIENCE)
        assert rt.run(stage.pid, timeout=PATIENCE) == worker
        own = stage.pid.options(isolate=True).start()
        assert own.result(PATIENCE) != worker
        kill(worker)
        assert info.wait(PATIENCE).state == "failed"
        assert rt.run(stage.pid, timeout=PATIENCE) != worker


def test_a_stopped_worker_holds_nobody_up(home: Path, tmp_path: Path) -> None:
    with runtime(home, workers=2) as rt:
        ready(rt, 2)
        stuck = stage.working.options(grace=0.2).start(str(tmp_path), "stuck")
        worker = int(seen(tmp_path, "stuck"))
        os.kill(worker, signal.SIGSTOP)
        infos = rt.start_many(stage.pid, [()] * 40)
        assert worker not in rt.results(infos, PATIENCE)
        assert stuck.cancel()
        assert stuck.wait(PATIENCE).state == "cancelled"
        gone([worker])


def test_suspects_that_wait_keep_nobody_from_a_worker_of_its_own(home: Path, tmp_path: Path) -> None:
    with runtime(home, isolated=1, slots=4) as rt:
        ready(rt, 1)
        suspects = [stage.works_and_waits.start(str(tmp_path), str(n)) for n in range(3)]
        for n in range(3):
            seen(tmp_path, str(n))
        (tmp_path / "go").touch()
        parked(suspects, rt)
        (tmp_path / "go").unlink()
        more = [stage.works_and_waits.start(str(tmp_path), f"more-{n}") for n in range(3)]
        for n in range(3):
            seen(tmp_path, f"more-{n}")
        kill(running(more, rt)[0]["pid"])
        (tmp_path / "go").touch()
        # Each runs alone, one after the other, until it waits, which may last for ever.
        parked(more, rt)
        assert all(row["alone"] for row in running(more, rt))
        assert not any(row["alone"] for row in running(suspects, rt))
        assert rt.run(stage.add.options(isolate=True), 1, 2, timeout=PATIENCE) == 3
        for info in [*suspects, *more]:
            assert info.cancel()
        assert {record.state for record in ended([*suspects, *more])} == {"cancelled"}

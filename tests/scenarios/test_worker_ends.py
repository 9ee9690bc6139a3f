"""The begin and the end of a worker: hooks, exit functions, temporary folders; and the folders of tasks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import ending_tasks as tasks
from theatre import PATIENCE, ready, runtime
from understudy import AppFailed, Runtime, State
from waiting import until


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENDING_NOTES", str(tmp_path))
    return tmp_path


def ending(home: Path, **settings: Any) -> Runtime:
    return runtime(home, app="ending_tasks", **settings)


def noted(notes: Path, what: str) -> set[int]:
    """The pids of the processes that have noted this."""
    return {int(path.name.rpartition("-")[2]) for path in notes.glob(f"{what}-*") if path.is_file()}


def test_a_worker_runs_its_hooks_and_its_own_exit_functions(home: Path, notes: Path) -> None:
    with ending(home, workers=2) as rt:
        workers = set(ready(rt, 2))
        until(lambda: noted(notes, "start") == workers, PATIENCE)
        fork_server = rt.tree()["fork_server"]
        worker = rt.run(tasks.leave, timeout=PATIENCE)
        assert len(list(notes.glob("left-*"))) == len(list(notes.glob("shared-*"))) == 1
        assert not noted(notes, "stop")
    assert noted(notes, "stop") == noted(notes, "hook-exit") == workers
    assert noted(notes, "task-exit") == {worker}
    # What the app registered when it was imported belongs to the process that imported it.
    assert noted(notes, "import-exit") == {fork_server}
    assert not list(notes.glob("left-*")) + list(notes.glob("shared-*"))


def test_a_worker_that_is_replaced_takes_no_folder_of_the_others_with_it(home: Path, notes: Path) -> None:
    with ending(home, worker_tasks=1) as rt:
        worker = rt.run(tasks.leave, timeout=PATIENCE)
        until(lambda: noted(notes, "stop") == {worker}, PATIENCE)
        until(lambda: not list(notes.glob("left-*")), PATIENCE)
        assert len(list(notes.glob("shared-*"))) == 1
        assert rt.run(tasks.leave, timeout=PATIENCE) != worker


def test_a_worker_starts_what_an_executor_holds_that_its_task_has_left(home: Path, notes: Path) -> None:
    with ending(home, worker_tasks=1) as rt:
        worker = rt.run(tasks.leave_executor, 100, timeout=PATIENCE)
        until(lambda: not os.path.exists(f"/proc/{worker}"), PATIENCE)
        assert len(rt.list(state=State.QUEUED, task=tasks.draw, limit=1000)) == 100


def test_an_exit_function_that_hangs_is_cut_off(home: Path, notes: Path) -> None:
    with ending(home, worker_tasks=1) as rt:
        worker = rt.run(tasks.hang_at_exit, timeout=PATIENCE)
        until(lambda: not os.path.exists(f"/proc/{worker}"), PATIENCE)


def test_a_start_hook_that_fails_ends_the_app(home: Path, notes: Path) -> None:
    (notes / "refuse").touch()
    with ending(home, restarts=1) as rt, pytest.raises(AppFailed, match="no database") as caught:
        rt.run(tasks.leave, timeout=PATIENCE)
    assert "ending_tasks:refuse raised ConnectionError" in str(caught.value)
    assert 'raise ConnectionError("no database")' in caught.value.remote_traceback
    assert "worker_hooks" not in caught.value.remote_traceback
    assert len(noted(notes, "start")) == 2
    assert not noted(notes, "stop")


def test_workers_come_up_once_their_hook_succeeds(home: Path, notes: Path) -> None:
    (notes / "refuse").touch()
    with ending(home, restarts=1000, restarts_within=1) as rt:
        info = rt.start(tasks.leave)
        until(lambda: len(noted(notes, "start")) > 2, PATIENCE)
        (notes / "refuse").unlink()
        assert info.wait(PATIENCE).interruptions == 0
        assert info.wait(PATIENCE).state == "completed"


def test_a_task_s_folder_stays_over_its_attempts_and_goes_with_its_record(home: Path, notes: Path) -> None:
    with ending(home) as rt:
        kept, gone = rt.start(tasks.try_again), rt.start(tasks.try_again.options(keep=0))
        assert kept.result(PATIENCE) == gone.result(PATIENCE) == ["1", "2", "3"]
        assert {path.name for path in (home / "files").iterdir()} >= {kept.id}
        assert (home / "files" / kept.id).stat().st_mode & 0o777 == 0o700
        rt.prune()
        assert [path.name for path in (home / "files").iterdir()] == [kept.id]


def test_forked_workers_draw_different_numbers(home: Path, notes: Path) -> None:
    with ending(home) as rt:
        drawn = [rt.run(tasks.draw, timeout=PATIENCE) for _ in range(3)]
    assert len(set(drawn)) == 3

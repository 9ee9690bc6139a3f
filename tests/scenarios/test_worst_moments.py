"""What must last, at the moment when a death or a full disk would do most harm to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import ending_tasks
import long_tasks
from disks import fill_up, mounted
from theatre import PATIENCE, ready
from theatre import runtime as stage_runtime
from understudy import Runtime, State, StoreFull, TaskFailed, TaskInfo
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until


def runtime(home: Path, app: str = "long_tasks", **settings: object) -> Runtime:
    return stage_runtime(home, app=app, restarts=1000, **settings)


def failed_with_messages(rt: Runtime, home: Path) -> TaskInfo[int]:
    """A task that has failed: of its messages, one is in its checkpoint and three were not read."""
    info = rt.start(long_tasks.adds_then_fails)
    for number in (1, 2, 4, 8):
        info.send(number)
    info.close()
    (home / "go").touch()
    assert info.wait(PATIENCE).state is State.FAILED
    (home / "whole").touch()
    return info


@pytest.mark.parametrize("moment", ["before", "after"])
def test_unread_messages_go_to_one_retry_though_the_supervisor_dies_as_it_hands_them_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    died = tmp_path / "died"
    with runtime(home) as rt:
        info = failed_with_messages(rt, home)
    # The first commit of a supervisor says that it serves. The retry is the next one.
    monkeypatch.setenv(VARIABLE, f"commit.{moment}:2@{died}")
    with runtime(home) as rt:
        again = rt.retry(info.id)
        assert again.result(PATIENCE) == 15
        assert died.exists()
        assert {record.id for record in rt.list()} == {info.id, again.id}
        assert rt.status(info.id).mailbox_depth == 3


def test_a_result_that_cannot_be_kept_fails_once_though_the_supervisor_dies_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"result.after:1@{died}")
    with runtime(home) as rt:
        info = rt.start(long_tasks.returns_a_lock.options(retry=5), str(tmp_path))
        with pytest.raises(TaskFailed, match="lock"):
            info.result(PATIENCE)
        assert died.exists()
        assert info.status().attempt == 1
        assert len(list(tmp_path.glob("ran-*"))) == 2, "once more, because its end was not on disk"


def test_deaths_count_over_a_death_of_the_supervisor(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    # It dies after the attempts of the dead worker were ended, and before that is on disk.
    monkeypatch.setenv(VARIABLE, f"bury.after:2@{died}")
    with runtime(home, max_crashes=3) as rt:
        info = rt.start(long_tasks.dies_slowly, 9, 0.0)
        with pytest.raises(TaskFailed, match="died 3 times"):
            info.result(PATIENCE)
        assert died.exists()
        assert info.status().attempt == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk") as folder:
        yield folder


def test_a_retry_on_a_full_disk_is_refused_and_leaves_the_messages(small_disk: Path) -> None:
    home, ballast = small_disk / "home", small_disk / "ballast"
    with runtime(home, map_size=1 << 20) as rt:
        info = failed_with_messages(rt, home)
        fill_up(ballast)
        until(lambda: rt.tree()["disk_full"], PATIENCE)
        with pytest.raises(StoreFull):
            rt.retry(info.id)
        assert [record.id for record in rt.list()] == [info.id]
        assert rt.status(info.id).mailbox_depth == 3
        ballast.unlink()
        again = until(lambda: _retried(rt, info), PATIENCE)
        assert again.result(PATIENCE) == 15


def _retried(rt: Runtime, info: TaskInfo[int]) -> TaskInfo[int] | None:
    try:
        return rt.retry(info.id)
    except StoreFull:
        return None


def test_hooks_at_a_kill_and_at_a_drain(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENDING_NOTES", str(tmp_path))
    with runtime(home, "ending_tasks") as rt:
        (killed,) = ready(rt, 1)
        rt.start(ending_tasks.say_between)
        running = until(lambda: rt.list(state=State.RUNNING), PATIENCE)[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: rt.status(running.id).state is State.FAILED, PATIENCE)
        (other,) = until(lambda: [pid for pid in ready(rt, 1) if pid != killed], PATIENCE)
        drained = rt.start(ending_tasks.say_between)
        until(lambda: drained.status().state is State.RUNNING, PATIENCE)
    assert (tmp_path / f"start-{other}").exists()
    assert [path.name for path in tmp_path.glob("stop-*")] == [f"stop-{other}"]

"""What must last, at the moment when a death or a full disk would do most harm to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import child_tasks
import ending_tasks
import leaving_tasks
import long_tasks
import typed_tasks
from disks import fill_up, mounted
from puppets import end, program, said
from theatre import PATIENCE, gone, parked, ready, running, seen, serving
from theatre import runtime as stage_runtime
from typed_tasks import Colour, Picture, Size
from understudy import Retry, Runtime, State, StoreFull, TaskFailed, TaskInfo, TaskNotFound, UnderstudyError
from understudy.storage.batch import Batch
from understudy.storage.environment import Environment
from understudy.storage.tables.schema import Table
from understudy.supervisor.home import Home
from understudy.supervisor.linux.processes import children_of, is_zombie
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


def test_children_of_a_task_are_gone_after_a_kill_and_after_a_drain(home: Path, tmp_path: Path) -> None:
    def children(attempt: int) -> list[int]:
        return [int(pid) for pid in seen(tmp_path, f"attempt-{attempt}").split()]

    def there(pids: list[int]) -> list[int]:
        return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]

    with runtime(home, "child_tasks") as rt:
        info = rt.start(child_tasks.keeps_children, str(tmp_path))
        killed = children(1)
        assert there(killed) == killed, "the zombie, too"
        (row,) = running([info], rt)
        os.kill(row["pid"], signal.SIGKILL)
        until(lambda: not there(killed), PATIENCE)
        drained = children(2)
        until(lambda: not any(map(is_zombie, children_of(rt.supervisor_pid))), PATIENCE)
    gone(drained)


def test_a_parent_is_killed_while_its_isolated_child_works(home: Path, tmp_path: Path) -> None:
    with runtime(home, isolated=1) as rt:
        parent = rt.start(long_tasks.waits_for_isolated, str(tmp_path))
        seen(tmp_path, "works")
        (row,) = parked([parent], rt)
        child = rt.restore(parent.id)
        os.kill(row["pid"], signal.SIGKILL)
        # The child has the only place, so it must end first.
        until(lambda: rt.status(parent.id).waits_for == "worker", PATIENCE)
        (tmp_path / "go").touch()
        assert parent.result(PATIENCE) == "done"
        assert rt.restore(parent.id) == child
        assert (rt.status(child).attempt, rt.status(child).interruptions) == (1, 0)


def test_a_parent_is_drained_while_its_isolated_child_works(home: Path, tmp_path: Path) -> None:
    with runtime(home, isolated=1, drain=0.1) as rt:
        parent = rt.start(long_tasks.waits_for_isolated, str(tmp_path))
        seen(tmp_path, "works")
        parked([parent], rt)
    (tmp_path / "go").touch()
    with runtime(home, isolated=1) as rt:
        assert rt.result(parent.id, PATIENCE) == "done"
        for id in (parent.id, rt.restore(parent.id)):
            assert (rt.status(id).attempt, rt.status(id).interruptions) == (1, 1)


def test_the_next_task_starts_clean_after_a_timeout_a_cancel_and_a_kill(home: Path) -> None:
    leaves = leaving_tasks.leaves_and_waits
    with runtime(home, "leaving_tasks", slots=1) as rt:
        clean = rt.run(leaving_tasks.look, timeout=PATIENCE)

        def next_is_clean() -> bool:
            # One thread more than there are slots has been in use.
            return [rt.run(leaving_tasks.look, timeout=PATIENCE) for _ in range(3)] == [clean] * 3

        assert rt.start(leaves.options(timeout=0.05)).wait(PATIENCE).state is State.TIMED_OUT
        assert next_is_clean()
        info = rt.start(leaves)
        parked([info], rt)
        assert info.cancel()
        assert info.wait(PATIENCE).state is State.CANCELLED
        assert next_is_clean()
        (row,) = parked([rt.start(leaves)], rt)
        os.kill(row["pid"], signal.SIGKILL)
        assert next_is_clean()


def cancel(info: TaskInfo[Any]) -> None:
    """Cancel the task if its supervisor still serves."""
    with suppress(UnderstudyError):
        info.cancel()


@pytest.mark.parametrize("moment", ["full disk", "drain"])
def test_the_last_words_of_a_worker_count_though_the_supervisor_is_late(tmp_path: Path, moment: str) -> None:
    """The worker reports an end and dies. The supervisor has a signal to write to it, and a full disk or a drain."""
    with mounted(tmp_path / "disk") as disk:
        home, ballast = disk / "home", disk / "ballast"
        with serving(home, "long_tasks", map_size=1 << 20, slots=3) as supervisor:
            assert said(supervisor) == ["ready"]
            with Runtime.connect(home) as rt:
                (worker,) = ready(rt, 1)
                waits = rt.start(long_tasks.waits)
                parked([waits], rt)
                ends = rt.start(long_tasks.ends_when_told, str(tmp_path))
                rt.start(long_tasks.dies_after_the_other, str(tmp_path))
                seen(tmp_path, "both")
                if moment == "full disk":
                    fill_up(ballast)
                    until(lambda: rt.tree()["disk_full"], PATIENCE)
                supervisor.send_signal(signal.SIGSTOP)
                cancelling = threading.Thread(target=lambda: cancel(waits))
                cancelling.start()
                if moment == "drain":
                    supervisor.send_signal(signal.SIGTERM)
                (tmp_path / "go").touch()
                until(lambda: is_zombie(worker), PATIENCE)
                supervisor.send_signal(signal.SIGCONT)
                if moment == "full disk":
                    until(lambda: [each for each in ready(rt, 1) if each != worker], PATIENCE)
                    ballast.unlink()
                else:
                    assert said(supervisor) == ["stopped"]
                cancelling.join(PATIENCE)
                assert ends.result(PATIENCE) == 7
                assert len(list(tmp_path.glob("ran-*"))) == 1


def test_an_attempt_that_fails_with_a_group_is_tried_again_though_the_supervisor_dies_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"result.after:1@{died}")
    with runtime(home) as rt:
        again = Retry(attempts=1, delay=0, on=(ConnectionError,))
        info = rt.start(long_tasks.fails_in_a_group.options(retry=again), str(tmp_path))
        assert info.result(PATIENCE) == 2
        assert died.exists()
        assert len(list(tmp_path.glob("ran-*"))) == 3, "the first one twice, because its end was not on disk"


def test_typed_values_survive_a_kill_and_a_restart(home: Path) -> None:
    first = Picture(
        Path("a"), Size(3, 2), datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")), {Colour.BLUE}
    )
    with runtime(home, "typed_tasks") as rt:
        album = rt.start(typed_tasks.album.options(ack="checkpoint"), first)
        later = rt.start(typed_tasks.turn.options(delay=0.2), first, by=Colour.RED)
        until(lambda: album.status().state is State.RUNNING, PATIENCE)
        album.send("b")
        album.close()
        os.kill(rt.supervisor_pid, signal.SIGKILL)
        whole = (first, Picture(Path("b"), Size(1, 1)))
        turned = [Picture(Path("a.turned"), Size(2, 3), first.taken, {Colour.BLUE, Colour.RED})]
        assert album.result(PATIENCE) == whole
        assert later.result(PATIENCE) == turned
    with Runtime.connect(home) as rt:
        assert (rt.result(album), rt.result(later)) == (whole, turned)


#: A supervisor that prunes all the time.
PRUNES = """
import asyncio
from understudy.supervisor.daemon import supervisor
from understudy.supervisor.home import Home
from understudy.supervisor.app import AppSpec
from understudy.supervisor.settings import Settings

supervisor.PRUNE_EVERY = 0.01
settings = Settings(workers=1, drain=1.0, map_size=1 << 20)
asyncio.run(supervisor.Supervisor(Home(sys.argv[1]), AppSpec.parse("typed_tasks"), settings).run())
"""


def test_pruning_passes_a_damaged_record_and_a_full_disk(small_disk: Path) -> None:
    home, ballast = small_disk / "home", small_disk / "ballast"
    with runtime(home, "typed_tasks", map_size=1 << 20) as rt:
        damaged = rt.start(typed_tasks.says.options(keep=0), "damaged")
        assert damaged.result(PATIENCE)
    with Home(home).lock():
        environment, batch = Environment(home), Batch()
        batch.put(Table.TASKS, damaged.id_bytes, b"no record")
        batch.put(Table.EXPIRY, b"no key", b"no ids")
        environment.commit(batch)
        environment.close()
    process = program(PRUNES, str(home))
    try:
        with Runtime.connect(home) as rt:
            # They end and are due while the disk is full, or shortly before or after.
            infos = rt.start_many(typed_tasks.says.options(keep=0), ["x" * 1000] * 20, timeout=PATIENCE)
            fill_up(ballast)
            until(lambda: rt.tree()["disk_full"], PATIENCE)
            ballast.unlink()
            until(lambda: not any(known(rt, info) for info in (damaged, *infos)), PATIENCE)
            later = until(lambda: started(rt), PATIENCE)
            until(lambda: not known(rt, later), PATIENCE)
    finally:
        end(process)


def started(rt: Runtime) -> TaskInfo[str] | None:
    try:
        return rt.start(typed_tasks.says.options(keep=0), "later")
    except StoreFull:
        return None


def known(rt: Runtime, info: TaskInfo[Any]) -> bool:
    try:
        return bool(rt.status(info))
    except TaskNotFound:
        return False

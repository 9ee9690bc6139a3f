"""A disk that refuses: a sync, a write, or any opening for writing."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import stage_tasks
from puppets import said
from shim import Shim, shim
from theatre import PATIENCE, runtime, serving
from understudy import HomeError, Runtime, State, StoreFull, TaskInfo
from understudy.actors.errors import UnderstudyError
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.supervisor.client import reconnecting
from waiting import until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Shim]:
    with shim(tmp_path) as it:
        yield it


def test_a_sync_that_fails_acknowledges_nothing_and_loses_nothing(home: Path, disk: Shim, monkeypatch):
    """After it the content of the file on disk is unknown, so that supervisor writes nothing more."""
    monkeypatch.setattr(reconnecting, "PATIENCE", 0.5)
    with serving(home) as process:
        assert said(process) == ["ready"]
        with Runtime.connect(home) as rt:
            sure = [rt.start(stage_tasks.add, n, 1) for n in range(5)]
            # It acknowledges its message at its end only: otherwise that might just be on disk before the failure.
            sure.append(rt.start(stage_tasks.total.options(ack="checkpoint")))
            rt.send(sure[-1].id, 7)
            disk.fail_sync(errno.EIO)
            with pytest.raises(UnderstudyError):
                rt.start(stage_tasks.add, 99, 1)
            kind, message, _ = said(process)
            assert kind == "StoreError"
            assert "cannot write" in message
        process.wait(PATIENCE)
    disk.fail_sync(0)
    assert check(home).problems == []
    with Reader(home) as reader:
        names = [record.name for record in reader.records()]
    assert len(names) in (6, 7), "what was not acknowledged may be there, or not"
    with runtime(home) as rt:
        assert [rt.result(each.id, PATIENCE) for each in sure[:5]] == [1, 2, 3, 4, 5]
        rt.close_mailbox(sure[-1].id)
        assert rt.result(sure[-1].id, PATIENCE) == 7


def test_a_sync_without_room_is_tried_again(home: Path, disk: Shim):
    """A file system with late allocation reports a lack of space only then."""
    with runtime(home) as rt:
        assert rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
        disk.fail_sync(errno.ENOSPC)
        late: list[int] = []
        starting = threading.Thread(
            target=lambda: late.append(rt.run(stage_tasks.add, 5, 6, timeout=PATIENCE))
        )
        starting.start()
        until(lambda: rt.tree()["disk_full"], PATIENCE)
        with pytest.raises(StoreFull):
            rt.start(stage_tasks.add, 1, 2)
        assert late == [], "not acknowledged, and so not told of"
        disk.fail_sync(0)
        starting.join(PATIENCE)
        assert late == [11]
        until(lambda: not rt.tree()["disk_full"], PATIENCE)
        assert rt.run(stage_tasks.add, 3, 4, timeout=PATIENCE) == 7
    assert check(home).problems == []


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Path]:
    """A file system that can be made read-only; only root can have one."""
    folder = tmp_path / "medium"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "understudy-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting takes root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_home_that_may_only_be_read_is_read_and_not_served(medium: Path):
    home = medium / "home"
    with runtime(home) as rt:
        info = rt.start(stage_tasks.add, 1, 2)
        assert info.result(PATIENCE) == 3
    subprocess.run(["mount", "-o", "remount,ro", str(medium)], check=True)
    before = {path.name: path.stat().st_mtime_ns for path in home.iterdir()}
    with pytest.raises(HomeError, match="read-only"):
        runtime(home)
    with pytest.raises(HomeError, match="read-only"):
        runtime(medium / "another")
    with Reader(home) as reader:
        assert [record.state for record in reader.records()] == [State.COMPLETED]
    assert check(home).problems == []
    assert {path.name: path.stat().st_mtime_ns for path in home.iterdir()} == before


def test_a_backlog_larger_than_the_disk_comes_to_its_end_by_pruning_alone(medium: Path):
    """Each task doubles its space at its end, so the admitted tasks do not fit. No space is freed from outside."""
    home = medium / "home"
    with runtime(home, map_size=1 << 20, slots=4) as rt:
        backlog: list[TaskInfo] = []
        with pytest.raises(StoreFull):  # noqa: PT012 - started until there is no room
            while True:
                backlog += rt.start_many(stage_tasks.same.options(delay=0.5), ["x" * 20_000] * 20)
        assert len(backlog) > 500
        until(lambda: rt.list(state=State.COMPLETED, limit=1), PATIENCE)
        until(lambda: _nothing_begins(rt), PATIENCE)
        assert rt.list(state=State.QUEUED, limit=1)
        pruned = 0

        def prune_all() -> bool:
            nonlocal pruned
            # It is never so full that it cannot be read, or cannot free space.
            pruned += rt.prune(all=True)
            return pruned == len(backlog)

        until(prune_all, 2 * PATIENCE, lambda: f"{pruned} of {len(backlog)}")
        until(lambda: _starts(rt), PATIENCE)
    assert check(home).problems == []


def _nothing_begins(rt: Runtime) -> bool:
    tree = rt.tree()
    return tree["disk_full"] and not any(worker["task_count"] for worker in tree["workers"])


def _starts(rt: Runtime) -> bool:
    try:
        return rt.run(stage_tasks.add, 1, 2, timeout=PATIENCE) == 3
    except StoreFull:
        return False

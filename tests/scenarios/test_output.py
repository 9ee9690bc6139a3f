"""What a task writes is in its log, whatever it writes with; what comes late is kept with the task's id."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import ending_tasks as tasks
from disks import fill_up, mounted
from rude_tasks import rude
from theatre import PATIENCE, runtime, seen
from understudy import Retry, Runtime, TaskInfo
from waiting import until


def ending(home: Path, **settings: Any) -> Runtime:
    return runtime(home, app="ending_tasks", **settings)


def lines(rt: Runtime, info: TaskInfo) -> list[tuple[str, str]]:
    return [(line.level, line.text) for line in rt.logs(info.id)]


def test_streams_and_handlers_that_the_app_kept_at_its_import(home: Path) -> None:
    with ending(home) as rt:
        info = rt.start(tasks.say_by_kept_streams)
        info.wait(PATIENCE)
        assert lines(rt, info) == [
            ("warning", "own handler"),
            ("error", "ERROR:root's handler"),
            ("stdout", "kept text"),
            ("stdout", "kept bytes"),
            ("stdout", "first"),
        ]


def test_late_lines_are_in_the_supervisor_s_output_with_the_task_s_id(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ending(home) as rt:
        info = rt.start(tasks.say_late, str(tmp_path))
        info.wait(PATIENCE)
        (tmp_path / "go").touch()
        seen(tmp_path, "said")
        assert lines(rt, info) == []
    head = f"task ending_tasks:say_late ({info.id}) wrote after its end: "
    said = [line.removeprefix(head) for line in capfd.readouterr().err.splitlines() if line.startswith(head)]
    assert said == ["a late line", "WARNING:a late record", "no end of line"]


def test_descriptors_are_captured_by_choice(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with ending(home) as rt:
        captured = rt.start(tasks.say_by_descriptors)
        by_choice = rt.start(tasks.say_by_child.options(capture_output=True))
        not_captured = rt.start(tasks.say_by_child)
        for info in (captured, by_choice, not_captured):
            assert info.wait(PATIENCE).state == "completed"
        assert sorted(lines(rt, captured)) == [
            ("stderr", "error"),
            ("stdout", "café without end"),
            ("stdout", "child"),
            ("stdout", "python"),
        ]
        assert lines(rt, by_choice) == [("stdout", "child")]
        assert lines(rt, not_captured) == []
    assert capfd.readouterr().out == "child\n"


def test_a_mark_stands_between_attempts(home: Path) -> None:
    with ending(home) as rt:
        info = rt.start(tasks.try_again)
        info.wait(PATIENCE)
        assert lines(rt, info) == [
            ("stdout", "attempt 1"),
            ("attempt", "--- attempt 2 of 3 ---"),
            ("stdout", "attempt 2"),
            ("attempt", "--- attempt 3 of 3 ---"),
            ("stdout", "attempt 3"),
        ]


@pytest.mark.parametrize("victim", ["worker", "supervisor"])
def test_a_kill_loses_no_line_that_came_before_an_acknowledged_message(home: Path, victim: str) -> None:
    with ending(home) as rt:
        info = rt.start(tasks.say_between)
        info.send("first")
        info.send("second")
        # The second `receive` has acknowledged the first message.
        until(lambda: info.status().mailbox_depth == 1, PATIENCE)
        worker = until(lambda: info.status().worker_pid, PATIENCE)
        pid = worker if victim == "worker" else rt.supervisor_pid
        os.kill(pid, signal.SIGKILL)
        if victim == "supervisor":
            # Its workers die with it.
            until(lambda: rt.supervisor_pid != pid, PATIENCE)
        else:
            info.wait(PATIENCE)
        assert lines(rt, info)[:1] == [("stdout", "before the second message")]


def test_a_kill_and_a_drain_lose_no_captured_line_that_came_before_an_acknowledged_message(
    home: Path,
) -> None:
    printed = [("stdout", str(number)) for number in range(1, tasks.CAPTURED + 1)]
    with ending(home) as rt:
        info = rt.start(tasks.say_between_by_child.options(retry=Retry(attempts=1, delay=0)))
        for number in range(3):
            info.send(number)
        until(lambda: info.status().mailbox_depth == 2, PATIENCE)
        os.kill(until(lambda: info.status().worker_pid, PATIENCE), signal.SIGKILL)
        until(lambda: info.status().mailbox_depth == 1, PATIENCE)
        assert lines(rt, info) == [*printed, ("attempt", "--- attempt 2 of 2 ---"), *printed]
    with Runtime.connect(home) as rt:
        assert rt.status(info.id).interruptions == 1
        assert lines(rt, info) == [*printed, ("attempt", "--- attempt 2 of 2 ---"), *printed]


def test_captured_lines_on_a_full_disk_are_kept_till_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk") as disk, ending(disk / "home", map_size=1 << 20) as rt:
        info = rt.start(tasks.say_by_child_when_told, str(tmp_path))
        seen(tmp_path, "begun")
        fill_up(disk / "ballast")
        until(lambda: rt.tree()["disk_full"], PATIENCE)
        (tmp_path / "go").touch()
        seen(tmp_path, "said")
        (disk / "ballast").unlink()
        assert info.wait(PATIENCE).state == "completed"
        assert len(lines(rt, info)) == tasks.CAPTURED


def test_a_captured_task_that_closes_every_descriptor_fails(home: Path) -> None:
    with runtime(home, app="rude_tasks") as rt:
        record = rt.start(rude.options(capture_output=True), "closes_every_descriptor").wait(PATIENCE)
        assert record.error is not None
        assert record.error.type == "WorkerDied"

"""What a task writes is in its log, whatever it writes with; what comes late is kept with the task's id."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import ending_tasks as tasks
from theatre import PATIENCE, runtime, seen
from understudy import Runtime, TaskInfo
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

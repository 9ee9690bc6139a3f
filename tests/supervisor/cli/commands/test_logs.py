from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import click
import pytest

from understudy.storage.reader import LogLine, Reader
from understudy.supervisor.cli.commands.logs import Printer, lines_of, logs
from understudy.supervisor.cli.session import Session
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def test_follow_prints_lines_as_they_come_and_ends_with_the_task(served: Stage, quietly: Callable[..., str]):
    id = quietly("app:post")
    process = served.popen("logs", "-f", "--json", id)
    lines: list[str] = []
    assert process.stdout is not None
    reading = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)  # type: ignore[union-attr]
    reading.start()
    served("send", id, '"one"')
    until(lambda: lines, message="the first line")
    assert process.poll() is None
    served("send", id, '"two"')
    served("close", id)
    assert process.wait(timeout=10) == 0
    reading.join()
    process.communicate()
    assert [json.loads(line)["text"] for line in lines] == ["letter one", "letter two"]


def test_time_level_and_text(served: Stage):
    served("run", "tale:[red]wolf[/red]")
    id = served("ps", "--task", "tale:[red]wolf[/red]", "--json").json[0]["id"]
    first, second, third = served("logs", id).out.splitlines()
    assert first.split()[1:] == ["stdout", "\\x1b[2J\\x1b]0;title\\x07[bold]huff[/bold]"]
    assert second.split()[1:] == ["warning", "pig:", "first"]
    assert third == " " * (second.index("pig")) + "second"


class Rows:
    """As much of a Reader as is asked for: a task that has ended at the third look."""

    def __init__(self, *chunks: tuple[int, list[LogLine]]) -> None:
        self.chunks = chunks
        self.looks = 0

    def logs(self, id: bytes, after: int, limit: int) -> list[tuple[int, list[LogLine]]]:
        return [chunk for chunk in self.chunks if chunk[0] > after][:1]

    def record(self, id: bytes) -> object:
        self.looks += 1
        return SimpleNamespace(stream=None, terminal=self.looks > 2)


@pytest.mark.parametrize("follow", [False, True])
def test_the_notice_comes_first_and_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], follow: bool
):
    monkeypatch.setattr("understudy.supervisor.cli.commands.logs.LOOK_EVERY", 0.0)
    rows = cast(
        "Reader", Rows((0, [(0.0, "notice", "7 earlier lines were dropped")]), (8, [(1.0, "info", "x")]))
    )
    printer = Printer(as_json=True)
    with click.Context(logs, obj=Session(str(tmp_path))).scope():
        for lines in lines_of(rows, bytes(16), follow=follow):
            printer.print(lines)
    texts = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert texts == ["7 earlier lines were dropped", "x"]


def test_follow_ends_for_a_task_that_nobody_runs_any_more(stage: Stage, tmp_path: Path):
    process, _ = stage.serve()
    id = stage.start("app:hours")
    stage.until_state(id, "running")
    follow = stage.popen("logs", "-f", id)
    process.terminate()
    process.communicate(timeout=15)
    # No supervisor is no end: another one takes over, and the view goes on.
    stage.serve()
    assert follow.poll() is None
    stage("cancel", id)
    follow.communicate(timeout=15)
    assert follow.returncode == 0

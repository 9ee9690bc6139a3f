from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


def test_stats_counts_by_name_and_state(served: Stage):
    served("result", served.start("app:add", "1", "2"), "--wait")
    counts = served("stats", "add", "--json").json
    assert list(counts) == ["app:add"]
    assert counts["app:add"]["completed"] >= 1
    lines = served("stats", "app:*").out.splitlines()
    assert lines[0].split()[0] == "TASK"
    assert lines[0].split()[-1] == "ALL"
    assert any(line.split()[0] == "app:add" for line in lines)
    assert lines[-1].split()[0] == "all"
    assert served("stats", "nothing").err == "no such tasks\n"
    assert served("stats", "nothing", "--json").json == {}


@pytest.fixture(scope="module")
def failed(served: Stage) -> str:
    """The id of a task that has failed."""
    id = served.start("tale:[red]wolf[/red]")
    served("result", id, "--wait")
    return id


def test_stats_of_a_window(served: Stage, failed: str):
    served("result", served.start("app:add", "1", "2"), "--wait")
    found = served("stats", "--window", "1h", "--task", "add", "--json").json
    assert list(found["tasks"]) == ["app:add"]
    assert found["ended"]["completed"] == found["tasks"]["app:add"]["ended"]["completed"] >= 1
    assert found["run"]["count"] >= found["wait"]["count"] >= 1
    assert 0 <= found["run"]["p50"] <= found["run"]["p99"]
    assert 3_600 <= found["seconds"] < 3_620
    lines = served("stats", "--window", "1h").out.splitlines()
    assert lines[0].split()[0] == "TASK"
    assert "WAIT p50" in lines[0]
    assert "RUN p99" in lines[0]
    assert lines[-1].split()[0] == "all"
    assert served("stats", "nothing", "--window", "10m").err == "nothing has ended in this time\n"
    assert served("stats", "--window", "500d").code == ExitCode.USAGE


def test_errors_by_their_cause(served: Stage, failed: str):
    (cause,) = served("errors", "--task", "*wolf*", "--json").json
    assert (cause["type"], cause["message"]) == ("ValueError", "\x1b[#mpuff\x1b[#m [bold]")
    assert cause["frame"].endswith("app.py in wolf")
    assert failed in cause["tasks"]
    answer = served("errors")
    assert answer.out.split()[:3] == ["COUNT", "TASK", "FIRST"]
    assert "ValueError: " in answer.out
    assert "\x1b" not in answer.out, "what a task says cannot steer the terminal"
    assert served("errors", "--task", "nothing").err == "no task has failed in this time\n"
    assert served("errors", "--task", "nothing", "--json").json == []
    assert served("errors", "--window", "soon").code == ExitCode.USAGE
    assert served("errors", "--limit", "0").code == ExitCode.USAGE

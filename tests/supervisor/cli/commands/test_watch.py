from __future__ import annotations

import json
from typing import TYPE_CHECKING

from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


def test_it_follows_a_task_and_exits_with_its_state(served: Stage):
    id = served("start", "tale:teller", "3").out.strip()
    answer = served("watch", id)
    assert answer.code == ExitCode.OK, answer.err
    lines = [line.partition("  ")[2] for line in answer.out.splitlines()]
    assert lines == [
        "stdout  told 0",
        "token  0",
        "stdout  told 1",
        "token  1",
        "stdout  told 2",
        "token  2",
        "end  completed",
    ]
    entries = [json.loads(line) for line in served("watch", id, "--json").out.splitlines()]
    assert [entry["kind"] for entry in entries] == ["snapshot", *["log", "item"] * 3, "end"]
    rest = served("watch", id, "--json", "--after", entries[4]["cursor"])
    assert [json.loads(line) for line in rest.out.splitlines()][1:] == entries[5:]
    over = served("watch", id, "--after", entries[-1]["cursor"])
    assert (over.code, over.out) == (ExitCode.OK, "")
    assert served("watch", id, "--after", "nonsense").code == ExitCode.USAGE


def test_a_failed_task(served: Stage):
    id = served("start", "tale:teller", "--", "-1").out.strip()
    answer = served("watch", id)
    assert answer.code == ExitCode.TASK_FAILED
    assert "end  failed: ValueError: nothing to tell" in answer.out


def test_nobody(served: Stage):
    assert served("watch", "0198f1c2").code == ExitCode.NOT_FOUND

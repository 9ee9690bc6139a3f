from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from terminal import read_until
from understudy import InvalidOption, Runtime
from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def test_start_prints_the_id_and_run_the_value(served: Stage):
    id = served.shell("start", "app:add", "1", "-2").out.strip()
    assert len(id) == 36
    assert served("result", id, "--wait").out == "-1\n"
    assert served.shell("run", "app:add", '"a"', "--kwargs", '{"b": "b"}').out == '"ab"\n'
    assert served("run", "app:add", "-", input="[1]").code == ExitCode.TASK_FAILED


def test_start_as_json(served: Stage):
    info = served("start", "app:add", "1", "--json").json
    fields = {"stream_id": info["id"], "task": "app:add", "origin_run": None, "existing": False}
    assert info == {"id": info["id"], **fields}


def test_unique_starts(served: Stage):
    first = served.start("tale:nap_once", "60", "--unique-key", "k")
    assert served.start("tale:nap_once", "60", "--unique-key", "k") == first
    assert served("start", "tale:nap_once", "60", "--unique-key", "k", "--json").json["existing"]
    refused = served("start", "tale:nap_once", "60", "--unique-key", "k", "--on-conflict", "raise")
    assert refused.code == ExitCode.NOT_UNIQUE
    assert first in refused.err
    assert served("show", first, "--json").json["unique_key"] == "k"
    assert "k" in served("show", first).out
    other = served.start("tale:nap_once", "60", "--delay", "1h")
    assert served.start("tale:nap_once", "60", "--delay", "2h", "--on-conflict", "replace") == other
    assert "60" in served("show", other).out
    wrong = served("start", "app:add", "1", "--unique-key", "k")
    assert (wrong.code, "none: give unique=" in wrong.err) == (ExitCode.USAGE, True)
    assert served("cancel", first, other).code == ExitCode.OK


def test_options_of_a_start(served: Stage):
    first = served.start("app:add", "1", "--key", "once", "--delay", "1h", "--priority", "7", "--retry", "2")
    assert served.start("app:add", "2", "--key", "once") == first
    seen = served("show", first, "--json").json
    assert (seen["state"], seen["key"], seen["options"]["priority"]) == ("queued", "once", 7)
    assert seen["options"]["retry"][0] == 2
    assert seen["next_attempt"] is not None
    part = served.start("app:add", "1", "--stream", first, "--timeout", "none", "--at", "2030-01-31T08:00")
    seen = served("show", part, "--json").json
    assert (seen["stream_id"], seen["options"]) == (first, {"timeout": None})
    assert served("cancel", first, part).code == ExitCode.OK


def test_metadata(served: Stage):
    tag = ("--meta", "customer=acme", "--meta", "run=a=b")
    id = served.start("app:add", "1", "--kwargs", '{"b": 2}', *tag)
    plain = served.start("app:add", "1")
    assert served("ps", "-q", "--meta", "customer=acme").out.split() == [id]
    assert served("ps", "-q", *tag).out.split() == [id]
    assert served("ps", "-q", "--meta", "customer=acme", "--meta", "run=b").out == ""
    assert served("show", id, "--json").json["metadata"] == {"customer": "acme", "run": "a=b"}
    assert "customer=acme, run=a=b" in served("show", id).out
    served("result", "--wait", id)
    again = served("retry", id, "--json").json["id"]
    assert served("show", again, "--json").json["metadata"]["customer"] == "acme"
    for wrong in ("customer", "=x", f"{'k' * 65}=x"):
        assert served("start", "app:add", "1", "--meta", wrong).code == ExitCode.USAGE
    twice = served("start", "app:add", "1", "--meta", "a=1", "--meta", "a=2")
    assert (twice.code, "'a' is given twice" in twice.err) == (ExitCode.USAGE, True)
    with Runtime.connect(served.home) as rt:
        records = rt.list(metadata={"customer": "acme"})
        assert {record.id for record in records} == {id, again}
        assert all((record.args, record.kwargs) == ([1], {"b": 2}) for record in records)
        assert (rt.status(plain).metadata, rt.status(plain).kwargs) == ({}, {})
        with pytest.raises(InvalidOption, match="metadata"):
            rt.list(metadata={"customer": 1})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["app:add", "data.csv"], ExitCode.USAGE, "'\"data.csv\"'"),
        (["app:add", "1", "--kwargs", "[1]"], ExitCode.USAGE, "JSON object"),
        (["app:add", "1", "--delay", "1s", "--at", "2030-01-31"], ExitCode.USAGE, "not both"),
        (["app:add", "1", "--typo"], ExitCode.USAGE, "--typo"),
        (["app:add", "1", "--limit-key", "a"], ExitCode.USAGE, "app:add has none"),
        (["app:add", "1", "--pool", "gpu"], ExitCode.NOT_FOUND, "no such pool"),
        (["app:add"], ExitCode.USAGE, "the arguments do not fit app:add("),
        (["app:add", "1", "2", "3", "4"], ExitCode.USAGE, "too many positional arguments"),
        (["app:none"], ExitCode.NOT_FOUND, "declares no task 'app:none'"),
        (["app:add", "1", "--stream", "ffffffff"], ExitCode.NOT_FOUND, "no task has an id"),
    ],
)
def test_what_cannot_be_started(served: Stage, args: list[str], code: ExitCode, says: str):
    answer = served("start", *args)
    assert (answer.code, answer.out) == (code, "")
    assert says in answer.err


def test_a_failed_run_shows_the_tasks_own_traceback(served: Stage):
    answer = served.shell("run", "tale:[red]wolf[/red]")
    assert (answer.code, answer.out) == (ExitCode.TASK_FAILED, "")
    assert 'app.py"' in answer.err
    assert answer.err.splitlines()[-1].endswith("failed: ValueError: \\x1b[31mpuff\\x1b[0m [bold]")
    assert "\x1b" not in answer.err


def test_other_ends_of_a_run(served: Stage):
    answer = served("run", "app:hours", "--timeout", "50ms")
    assert answer.code == ExitCode.TASK_TIMED_OUT
    answer = served("run", "app:hours", "--wait-timeout", "50ms")
    assert answer.code == ExitCode.WAIT_TIMED_OUT
    id = answer.err.split("--wait ")[1].strip("`\n")
    assert served("cancel", id).code == ExitCode.OK


@pytest.mark.parametrize("waits", ["run", "result"])
def test_a_terminal_shows_the_progress_and_a_pipe_nothing(
    served: Stage, quietly: Callable[..., str], waits: str
):
    ours, theirs = pty.openpty()
    if waits == "run":
        known = {task["id"] for task in served("ps", "--json", "-n", "0").json}
        args = ["run", "app:post"]
    else:
        args = ["result", "--wait", quietly("app:post")]
    process = subprocess.Popen(
        [*served.command, *args],
        cwd=served.folder,
        env=served.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    if waits == "run":
        running = ("ps", "-q", "--task", "app:post", "--state", "running")
        id = until(lambda: next((id for id in served(*running).out.split() if id not in known), ""))
    else:
        id = args[-1]
    served("send", id, '"hello"')
    seen = read_until(ours, b"1/10 (10%), reading")
    assert b"running " in seen
    served("close", id)
    assert process.communicate(timeout=10) == ("1\n", None)
    assert process.returncode == ExitCode.OK
    os.close(ours)
    answer = served.shell("run", "app:hours", "--wait-timeout", "600ms")
    assert answer.err.startswith("Error: task "), "nothing before it"
    served("cancel", answer.err.split()[2])


def test_ctrl_c_cancels_the_task(served: Stage):
    process = served.popen("run", "app:hours")
    running = ("ps", "--task", "app:hours", "--state", "running", "--json")
    (task,) = until(lambda: served(*running).json)
    id = task["id"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)
    assert process.returncode == ExitCode.TASK_CANCELLED
    assert out == ""
    assert f"cancelling task {id}" in err
    assert served.state(id) == "cancelled"


def test_without_a_supervisor(stage: Stage):
    for command in ("start", "run"):
        answer = stage(command, "app:add", "1")
        assert answer.code == ExitCode.NOT_RUNNING
        assert answer.err == (
            f"Error: no supervisor serves {stage.home}; start one with `understudy serve APP`\n"
        )

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from terminal import read_until
from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


def test_the_tree_shows_processes_and_tasks(served: Stage, quietly: Callable[..., str]):
    id = quietly("app:post")
    served("send", id, "1")
    tree = served.shell("tree", "--json").json
    assert tree["pid"] == served.serves[0].pid
    assert tree["rss"] > 1 << 20
    assert tree["fork_server"]["pid"] > 0
    (worker,) = tree["workers"]
    assert worker["processes"] == 1
    assert id in [task["id"] for task in worker["tasks"]]
    text = served("tree").out
    assert f"worker {worker['pid']}" in text
    assert f"app:post {id[-12:]}  waiting" in text


def test_without_a_supervisor(stage: Stage):
    stage.home.mkdir(mode=0o700)
    for command in ("tree", "top"):
        assert stage(command).code == ExitCode.NOT_RUNNING


def test_top_counts_its_looks(served: Stage):
    answer = served("top", "--count", "2", "--interval", "10ms")
    assert answer.out.count("WORKER") == 4, "once for the workers, once for the tasks, twice"
    documents = [
        json.loads(line) for line in served("top", "-n", "2", "--interval", "10ms", "--json").out.splitlines()
    ]
    assert len(documents) == 2


@pytest.mark.parametrize(
    ("command", "head"), [(["top"], b"WORKER"), (["ps", "--watch"], b"ID ")], ids=["top", "ps"]
)
def test_on_a_terminal_until_ctrl_c(served: Stage, command: list[str], head: bytes):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*served.command, *command, "--interval", "10ms"],
        cwd=served.folder,
        env=served.environment(COLUMNS="100", LINES="30"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = read_until(ours, head)
    assert b"\x1b[?1049h" in seen, "on a screen of its own"
    process.send_signal(signal.SIGINT)
    seen += read_until(ours, b"\x1b[?1049l")
    assert process.wait(timeout=10) == ExitCode.OK
    os.close(ours)
    assert b"Traceback" not in seen


@pytest.mark.parametrize(
    ("command", "head"), [(["top"], b"WORKER"), (["ps", "--watch"], b"ID ")], ids=["top", "ps"]
)
def test_q_leaves_the_page_at_once(served: Stage, command: list[str], head: bytes):
    ours, theirs = pty.openpty()
    modes = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*served.command, *command, "--interval", "1h"],
        cwd=served.folder,
        env=served.environment(COLUMNS="100", LINES="30"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    read_until(ours, head)
    os.write(ours, b"x")
    os.write(ours, b"q")
    read_until(ours, b"\x1b[?1049l")
    assert process.wait(timeout=10) == ExitCode.OK
    assert termios.tcgetattr(theirs) == modes, "the terminal is as it was"
    os.close(theirs)
    os.close(ours)

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines import IMAGE, engine
from understudy.actors.box.sizes import SIZES
from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def test_output_and_exit_code_are_the_commands(served: Stage, tmp_path: Path):
    engine()
    tmp_path.chmod(0o755)
    (tmp_path / "in").write_text("given\n")
    script = 'cat /in/in; echo "$A-$B" >&2; ls -d /; echo "\x1b[31mred"; exit 42'
    options = [
        "--env",
        "A=1",
        "--env",
        "B",
        "--mount",
        f"{tmp_path}:/in",
        "--size",
        "xlarge",
        "--timeout",
        "1m",
    ]
    answer = served.shell("box", "run", IMAGE, "sh", "-c", script, *options, B="two")
    assert (answer.code, answer.out, answer.err) == (42, "given\n/\n\x1b[31mred\n", "1-two\n")
    id = served("ps", "--task", "understudy.box", "--json").json[0]["id"]
    # Which of two streams was first, the engine does not promise.
    assert {line.split()[-1] for line in served("logs", id).out.splitlines()} >= {"given", "1-two", "/"}
    # Options may come first, and `--` keeps those of the command from being taken for ours.
    answer = served("box", "run", "--size", "xlarge", "--", IMAGE, "echo", "--size", "-h", "x")
    assert (answer.code, answer.out) == (0, "--size -h x\n")


def test_other_ends(served: Stage):
    engine()
    slow = served("box", "run", IMAGE, "sleep", "100", "--timeout", "1", "--grace", "0", "--size", "xlarge")
    assert slow.code == ExitCode.TASK_TIMED_OUT
    assert "longer than 1 s and" in slow.err
    absent = served("box", "run", "understudy-tests/absent", "--pull", "never")
    assert absent.code == ExitCode.TASK_FAILED
    assert "is not on this machine" in absent.err
    run = served.popen(
        "box", "run", IMAGE, "sh", "-c", "echo up; sleep 100", "--size", "xlarge", "--grace", "0"
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=20)
    assert run.returncode == ExitCode.TASK_CANCELLED
    assert "cancelling task" in said


def test_detached(served: Stage):
    engine()
    id = served(
        "box", "run", IMAGE, "sh", "-c", "echo there >&2", "--detach", "--key", "d", "--size", "xl"
    ).out.strip()
    assert served("box", "run", IMAGE, "--detach", "--key", "d").out.strip() == id
    assert served("result", id, "--wait").json["stderr"] == "there\n"
    until(lambda: "there" in served("logs", "-f", id).out)


@pytest.mark.parametrize(
    "args",
    [
        ["--size", "huge", "alpine"],
        ["--mount", "/srv", "alpine"],
        ["--mount", "/srv:/data", "alpine"],
        ["--env", "NO_SUCH_VARIABLE", "alpine"],
        ["--timeout", "0.5", "alpine"],
        ["--memory", "1M", "alpine"],
        [],
    ],
)
def test_what_is_refused_before_it_starts(served: Stage, args: list[str]):
    assert served("box", "run", *args).code == ExitCode.USAGE


def test_an_image_that_is_not_allowed(served: Stage):
    answer = served("box", "run", "docker:dind")
    assert answer.code == ExitCode.FAILED
    assert "policy" in answer.err


def test_sizes(served: Stage):
    assert served("box", "sizes", "--json").json["nano"] == SIZES["nano"]._asdict()
    table = served("box", "sizes").out
    assert [line.split()[0] for line in table.splitlines()[1:]] == list(SIZES)
    assert "20,480 MB" in table

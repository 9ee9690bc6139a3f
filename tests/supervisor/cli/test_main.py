from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

import understudy
from understudy.supervisor.cli.exit_codes import ExitCode
from understudy.supervisor.cli.main import COMMANDS, cli

if TYPE_CHECKING:
    from conftest import Stage


def test_the_version(stage: Stage):
    assert stage.shell("--version").out == f"understudy {understudy.__version__}\n"


def test_help_lists_every_command(stage: Stage):
    answer = stage("--help")
    assert answer.code == ExitCode.OK
    assert all(f"\n  {name} " in answer.out for name in COMMANDS)
    assert "..." not in answer.out.split("Commands:")[1], "no summary is cut off"
    assert stage("ps", "-h").code == ExitCode.OK


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(name: str):
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_a_typo_gets_a_suggestion(stage: Stage):
    answer = stage("shwo")
    assert answer.code == ExitCode.USAGE
    assert "Did you mean 'show'?" in answer.err


def test_readers_start_without_what_they_do_not_need():
    heavy = (
        "rich",
        "psutil",
        "asyncio",
        "understudy.supervisor.client.runtime",
        "understudy.supervisor.daemon.supervisor",
    )
    code = (
        "import sys; from understudy.supervisor.cli import main; from understudy.supervisor.cli.commands import tasks; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("args", [["ps", "--json"], ["ps"], ["logs", "-f"], ["--help"]])
def test_a_reader_that_goes_away_is_no_error(served: Stage, args: list[str]):
    id = served.start("app:add", "1")
    served("result", id, "--wait")
    ours, theirs = os.pipe()
    os.close(ours)
    arguments = [*args, id] if args[0] == "logs" else args
    with os.fdopen(theirs, "wb") as pipe:
        done = subprocess.run(
            [*served.command, *arguments],
            env=served.environment(),
            stdout=pipe,
            stderr=subprocess.PIPE,
            timeout=20,
        )
    assert (done.returncode, done.stderr) == (ExitCode.BROKEN_PIPE, b"")


def test_an_error_is_one_line_and_debug_shows_where(stage: Stage):
    assert len(stage("ps").err.splitlines()) == 1
    done = subprocess.run(
        [sys.executable, "-P", "-m", "understudy.supervisor.cli", "--debug", "ps"],
        env=stage.environment(),
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert "Traceback" in done.stderr
    assert done.returncode == ExitCode.HOME_UNUSABLE


def test_completion_offers_commands_and_ids(served: Stage):
    id = served.start("app:add", "1")
    words = served.shell(_UNDERSTUDY_COMPLETE="bash_complete", COMP_WORDS="understudy sh", COMP_CWORD="1")
    assert words.out == "plain,show\n"
    words = served(
        _UNDERSTUDY_COMPLETE="bash_complete", COMP_WORDS=f"understudy show {id[:-4]}", COMP_CWORD="2"
    )
    assert f"plain,{id}\n" in words.out

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


@pytest.mark.parametrize(
    "args",
    [["--home", "{home}", "ps"], ["ps", "--home", "{home}"], ["--home", "x", "ps", "--home", "{home}"]],
)
def test_the_home_may_stand_before_and_after_the_command(served: Stage, args: list[str]):
    arguments = [arg.format(home=served.home) for arg in args]
    assert served(*arguments, "--json", UNDERSTUDY_HOME="/nowhere").code == ExitCode.OK


def test_the_working_directory_has_the_default_home(stage: Stage):
    answer = stage("ps", UNDERSTUDY_HOME="")
    assert f"no home {stage.folder}/.understudy" in answer.err

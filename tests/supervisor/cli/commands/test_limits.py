from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from understudy import Runtime
from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


def test_limits_are_shown_and_set(served: Stage):
    name = "understudy.containers"
    (shown,) = [each for each in served("limits", "--json").json if each["name"] == name]
    assert (shown["concurrency"], shown["used"], shown["waiting"], shown["rate"]) == (16, 0, 0, None)
    assert name in served("limits").out
    assert served("limits", name, "--rate", "9/m", "--json").json[0]["rate"] == "9/m"
    with Runtime.connect(served.home) as rt:
        assert next(str(info.rate) for info in rt.limits() if info.name == name) == "9/m"
    assert "9/m" in served("limits", name, COLUMNS="200").out
    (none,) = served("limits", name, "--concurrency", "none", "--rate", "none", "--json").json
    assert (none["concurrency"], none["rate"]) == (None, None)
    assert served("limits", name, "--reset", "--json").json[0]["concurrency"] == 16


@pytest.mark.parametrize(
    "wrong",
    [
        ("understudy.containers", "--rate", "often"),
        ("understudy.containers", "--concurrency", "few"),
        ("understudy.containers", "--concurrency", "0"),
        ("--rate", "9/m"),
        ("understudy.containers", "--rate", "9/m", "--reset"),
    ],
)
def test_what_cannot_be_set_is_refused(served: Stage, wrong: tuple[str, ...]):
    assert served("limits", *wrong).code == ExitCode.USAGE


@pytest.mark.parametrize("more", [(), ("--rate", "9/m"), ("--reset",)])
def test_a_limit_that_no_task_has(served: Stage, more: tuple[str, ...]):
    answer = served("limits", "nobody", *more)
    assert answer.code == ExitCode.NOT_FOUND
    assert "no task has the limit 'nobody'" in answer.err

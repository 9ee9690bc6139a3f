from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def test_the_stack_of_a_running_task(served: Stage):
    id = served("start", "app:hours").out.strip()
    until(lambda: served("show", id, "--json").json["state"] == "running")
    shown = served("stack", id)
    assert shown.code == ExitCode.OK
    assert "the task (most recent call last):" in shown.out
    assert "in hours" in shown.out
    assert "sleep(3600)" in shown.out
    found = served("stack", id, "--json").json
    assert found["id"] == id
    assert found["threads"][0]["role"] == "task"
    assert found["threads"][0]["frames"][0]["function"] == "hours"
    assert served("stack", id, "--all").out.startswith(shown.out.splitlines()[0])
    served("cancel", id)
    until(lambda: served("show", id, "--json").json["state"] == "cancelled")
    refused = served("stack", id)
    assert refused.code == ExitCode.ENDED
    assert "has no stack any more: it is cancelled" in refused.err
    assert served("stack", "ffffffff").code == ExitCode.NOT_FOUND

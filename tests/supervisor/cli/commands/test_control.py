from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


def test_messages_go_to_the_mailbox_until_it_is_closed(served: Stage):
    id = served.start("app:post")
    assert served("send", id[:35], '{"a": -1}').code == ExitCode.OK
    assert served("send", id, "-", input='"from a pipe"').code == ExitCode.OK
    assert served("send", id, "-5").code == ExitCode.OK
    assert served("close", id).code == ExitCode.OK
    assert served("result", id, "--wait").out == "3\n"
    answer = served("send", id, "1")
    assert answer.code == ExitCode.ENDED
    assert len(answer.err.splitlines()) == 1


def test_cancel_several_at_once(served: Stage):
    ended, queued = served.start("app:add", "1"), served.start("app:add", "1", "--delay", "1h")
    served("result", ended, "--wait")
    answer = served("cancel", queued, ended, "ffff")
    assert answer.code == ExitCode.NOT_FOUND
    assert f"{queued} is cancelled" in answer.out
    assert f"{ended} had ended already: completed" in answer.out
    assert "starts or ends with ffff" in answer.err
    answer = served("cancel", "--json", queued)
    assert answer.json == {"id": queued, "cancelled": False, "state": "cancelled"}
    assert answer.code == ExitCode.ENDED


def test_retry_goes_on_from_the_checkpoint(served: Stage):
    id = served.start("app:post")
    served("send", id, "1")
    served("close", id)
    assert served("result", id, "--wait").out == "1\n"
    for option, state in ([], "1\n"), (["--from-scratch"], "0\n"):
        again = served("retry", id, *option, "--json").json
        assert again["retry_of"] == id
        served("close", again["id"])
        assert served("result", again["id"], "--wait").out == state


def test_only_an_ended_task_is_tried_again(served: Stage, quietly: Callable[..., str]):
    answer = served("retry", quietly("app:hours"))
    assert answer.code == ExitCode.NOT_ENDED
    assert "cancel it first" in answer.err


@pytest.mark.parametrize("now", [[], ["--now"]])
def test_stop_waits_for_the_end(stage: Stage, now: list[str]):
    process, _ = stage.serve()
    answer = stage("stop", *now)
    assert (answer.code, answer.out) == (ExitCode.OK, "")
    assert f"(pid {process.pid}) has stopped" in answer.err
    process.communicate(timeout=5)
    assert process.returncode == ExitCode.OK
    assert stage("stop").code == ExitCode.NOT_RUNNING


def test_stop_now_blames_no_task(stage: Stage):
    stage.write("import time\nfrom understudy import task\n@task\ndef deaf():\n    time.sleep(3600)\n")
    stage.serve()
    id = stage.start("app:deaf")
    stage.until_state(id, "running")
    assert stage("stop", "--now").code == ExitCode.OK
    seen = stage("show", id, "--json").json
    assert (seen["state"], seen["attempt"], seen["interruptions"]) == ("queued", 1, 1)


def test_stop_gives_up_waiting(stage: Stage):
    stage.write("import time\nfrom understudy import task\n@task\ndef deaf():\n    time.sleep(3600)\n")
    stage.serve("--drain", "1h")
    id = stage.start("app:deaf")
    stage.until_state(id, "running")
    answer = stage("stop", "--timeout", "50ms")
    assert answer.code == ExitCode.WAIT_TIMED_OUT
    assert stage("stop", "--now").code == ExitCode.OK
    assert stage.state(id) == "queued"


@pytest.mark.parametrize(
    "command", [["send", "0", "1"], ["close", "0"], ["cancel", "0"], ["retry", "0"], ["stop"], ["prune"]]
)
def test_without_a_supervisor(stage: Stage, command: list[str]):
    stage.home.mkdir(mode=0o700)
    assert stage(*command).code == ExitCode.NOT_RUNNING

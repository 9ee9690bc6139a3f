from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from terminal import read_until
from understudy import Runtime, Task
from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

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


def test_all_tasks_of_a_query_are_cancelled(served: Stage):
    ids = [served.start("app:add", str(71_000 + at), "--delay", "1h") for at in range(3)]
    where = "args.0:7100? state:queued"
    dry = served("cancel", "--where", where, "--dry-run").out.splitlines()
    assert dry[0] == "would cancel 3 tasks"
    assert [line.split()[0] for line in dry[2:]] == [id[-12:] for id in reversed(ids)], "and some of them"
    dry = served("cancel", "--where", where, "--dry-run", "--json").json
    assert (dry["found"], dry["cancelled"], dry["sample"][0]["id"]) == (3, 0, ids[2])
    assert served("cancel", "--where", "args.0:71000", "-y").out == "1 task cancelled or asked to stop\n"
    answer = served("cancel", "--where", where, "--yes", "--json").json
    assert (answer["found"], answer["cancelled"]) == (2, 2)
    assert answer["bulk"]["outcomes"] == {"cancelled": 2}
    assert {served.state(id) for id in ids} == {"cancelled"}
    assert served("cancel", "--where", where, "-y").out == "there is no task to cancel\n"


def test_without_a_terminal_it_asks_for_what_it_needs(served: Stage):
    ids = [served.start("app:add", str(72_000 + at), "--delay", "1h") for at in range(2)]
    where = "args.0:7200?"
    for options in ([], ["--json"]):
        answer = served("cancel", "--where", where, *options, input="y\n")
        assert (answer.code, answer.out) == (ExitCode.USAGE, "")
        assert "give --yes, or --expect 2" in answer.err
    answer = served("cancel", "--where", where, "--expect", "3")
    assert (answer.code, answer.out) == (ExitCode.FAILED, "")
    assert "2 tasks fit, not 3. Nothing was changed" in answer.err
    assert {served.state(id) for id in ids} == {"queued"}
    assert served("cancel", "--where", where, "--expect", "2").out == "2 tasks cancelled or asked to stop\n"
    assert served("cancel", "--where", where, "--expect", "0").code == ExitCode.OK


def on_terminal(served: Stage, words: str, typed: str, *args: str) -> tuple[int, str]:
    """The exit code and what is on the terminal. `typed` is typed once the terminal shows the words."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*served.command, *args],
        cwd=served.folder,
        env=served.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = read_until(ours, words.encode())
        os.write(ours, typed.encode())
        seen += read_until(ours, b"that is never written")
        process.wait(20)
    os.close(ours)
    return process.returncode, seen.decode()


def test_above_a_hundred_their_number_is_typed(served: Stage, monkeypatch: pytest.MonkeyPatch):
    with Runtime.connect(served.home) as rt:
        rt.start_many(Task.named("app:add").options(delay=3600), [(74_000 + at,) for at in range(101)])
    where = "args.0:74???"
    code, seen = on_terminal(served, "[y/N]", "n\n", "cancel", "--where", f"{where} -args.0:74000")
    assert (code, "cancel 100 tasks? [y/N]" in seen) == (ExitCode.INTERRUPTED, True)
    for typed in ("y\n", "100\n", "\n"):
        code, seen = on_terminal(served, "Type their number", typed, "cancel", "--where", where)
        assert (code, "Nothing was changed" in seen) == (ExitCode.USAGE, True), seen
    assert len(served("ps", "-q", "-n", "0", f"{where} state:queued").out.splitlines()) == 101
    code, seen = on_terminal(served, "Type their number", "101\n", "cancel", "--where", where)
    assert (code, "101 tasks cancelled or asked to stop" in seen) == (ExitCode.OK, True), seen


def test_all_tasks_of_a_query_are_retried_once(served: Stage):
    for at in range(2):
        served("result", served.start("app:add", f'"{at}-73"', "1"), "--wait")
    where = "task:add args.0:?-73"
    assert served("retry", "--where", where, "--dry-run").out.startswith("would retry 2 tasks\n")
    assert served("retry", "--where", where, "-y", "--from-scratch").out == "2 tasks retried\n"
    assert served("ps", "--json", where).json[0]["retry_of"] is not None
    waiting = f"{where} state:queued,running"
    until(lambda: not served("ps", "-q", waiting).out)
    again = served("retry", "--where", where, "--dry-run", "--json").json
    assert (again["found"], again["retried"]) == (2, 0), "the new ones"


@pytest.mark.parametrize("command", ["cancel", "retry"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give the ID of a task, or --where QUERY"),
        (["ffff", "--where", "task:x"], "not both"),
        (["ffff", "--dry-run"], "go with --where"),
        (["ffff", "--yes"], "go with --where"),
        (["ffff", "--expect", "0"], "go with --where"),
        (["ffff", "--no-wait"], "go with --where"),
        (["--where", "state:wating"], "there is no state 'wating'"),
        (["--where", "'task"], "the quote ' is not closed"),
        (["--where", " ", "--yes"], "task:* for all"),
    ],
)
def test_a_wrong_query_changes_nothing(served: Stage, command: str, options: list[str], said: str):
    answer = served(command, *options)
    assert answer.code == ExitCode.USAGE
    assert said in answer.err


def test_a_dry_run_needs_no_supervisor(stage: Stage):
    assert stage("cancel", "--where", "task:*", "--dry-run").code == ExitCode.HOME_UNUSABLE
    stage.home.mkdir(mode=0o700)
    assert stage("cancel", "--where", "task:*", "--dry-run").out == "there is no task to cancel\n"
    assert stage("retry", "--where", "task:*", "-y").code == ExitCode.NOT_RUNNING


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

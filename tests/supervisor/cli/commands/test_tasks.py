from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from understudy.supervisor.cli.exit_codes import ExitCode
from waiting import until

if TYPE_CHECKING:
    from conftest import Stage


def test_ps_filters(served: Stage):
    done = served.start("app:add", "1")
    served("result", done, "--wait")
    waiting = served.start("app:add", "2", "--delay", "1h")
    part = served.start("app:add", "3", "--stream", done)

    def ids(*filters: str) -> list[str]:
        return [task["id"] for task in served("ps", "--json", *filters).json]

    assert ids()[:3] == [part, waiting, done]
    assert waiting in ids("--state", "queued")
    assert done not in ids("--state", "queued", "-s", "running")
    assert ids("--task", "app:nothing") == []
    assert ids("--stream", done[:35]) == [part, done]
    assert ids("--newer", "1h", "--limit", "1") == [part]
    assert ids("--older", "1h") == []
    assert len(ids("--limit", "0")) >= 3
    served("cancel", waiting)


def test_ps_takes_a_query(served: Stage):
    first = served.start("app:add", "70001", "1")
    second = served.start("app:add", "70002", "1", "--delay", "1h")
    served("result", first, "--wait")

    def ids(*words: str) -> list[str]:
        return [task["id"] for task in served("ps", "--json", *words).json]

    assert ids("state:completed task:add args.0:70001") == [first]
    assert ids("args.0:70001,70002", "--state", "queued") == [second]
    assert ids("args.0:7000* -state:queued") == [first]
    assert ids("args.0:7000*", "--limit", "1") == [second]
    wrong = served("ps", "task:add state:waiting")
    assert wrong.code == ExitCode.USAGE
    assert "there is no state 'waiting'" in wrong.err
    assert wrong.err.splitlines()[-1].index("^") == len("  task:add state:")
    served("cancel", second)


def test_show_lists_the_attempts_of_a_task_that_ran_more_than_once(served: Stage):
    id = served.start("tale:zigzag", "3")
    served("close", id)
    served("result", id, "--wait")
    told = served("show", id, "--json").json
    assert [(run["attempt"], run["state"]) for run in told["attempts"]] == [
        (1, "failed"), (2, "failed"), (3, "completed")
    ]  # fmt: skip
    assert told["attempts"][0]["error"]["type"] == "ConnectionError"
    assert told["attempts"][0]["started"].endswith("+00:00")
    assert told["attempts_dropped"] == 0
    lines = served("show", id).out.splitlines()
    (head,) = (line for line in lines if line.startswith("TRY"))
    assert head.split() == ["TRY", "ENDED", "AS", "STARTED", "RAN", "WORKER", "ERROR"]
    first, _, last = lines[lines.index(head) + 1 :]
    assert first.endswith("ConnectionError: not yet")
    assert last.split()[:2] == ["3", "completed"]
    once = served.start("app:add", "1")
    served("result", once, "--wait")
    assert "TRY" not in served("show", once).out
    assert len(served("show", once, "--json").json["attempts"]) == 1


def test_ps_as_a_table(served: Stage):
    id = served.start("app:add", "1")
    served("result", id, "--wait")
    answer = served.shell("ps", "--limit", "1")
    head, line = answer.out.splitlines()
    assert head.split() == ["ID", "TASK", "STATE", "TRY", "AGE", "RAN"]
    assert line.split()[:4] == [id, "app:add", "completed", "1"]
    narrow = served("ps", "--limit", "1", COLUMNS="80").out.splitlines()[1].split()[0]
    assert id.endswith(narrow)
    assert len(narrow) < len(id)
    assert served.state(narrow) == "completed"
    assert served("ps", "--state", "queued", "--task", "x").err == "no such tasks\n"


def test_states_without_a_supervisor_are_marked_as_old(stage: Stage):
    stage.write()
    process, _ = stage.serve()
    id = stage.start("app:post")
    stage.until_state(id, "running")
    assert stage("ps").err == ""
    process.kill()
    process.communicate()
    for command in (["ps"], ["show", id]):
        assert stage(*command).err.startswith("no supervisor is running; states are as of 20")
    assert stage("ps", "--json").err == ""
    assert stage("ps", "--state", "queued").err == "no such tasks\n"


def test_ps_gives_ids_for_other_commands(served: Stage):
    ids = [served.start("app:add", "1", "--delay", "1h") for _ in range(2)]
    delayed = ("ps", "-q", "--task", "app:add", "--state", "queued")
    answer = served.shell(*delayed)
    assert (answer.out.split(), answer.err) == (ids[::-1], "")
    assert "newest 1" in served(*delayed, "-n", "1").err
    assert served("cancel", *answer.out.split()).code == ExitCode.OK
    answer = served(*delayed)
    assert (answer.code, answer.out, answer.err) == (ExitCode.OK, "", "")
    for other in ("--json", "--watch"):
        assert served("ps", "-q", other).code == ExitCode.USAGE


def test_a_closed_output_ends_a_command_quietly(served: Stage):
    for command in (["ps"], ["ps", "-q"], ["ps", "--json"], ["top", "--interval", "10ms"], ["ps", "--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.Popen(
            [*served.command, *command],
            cwd=served.folder,
            env=served.environment(),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        assert process.communicate(timeout=20) == (None, b"")
        assert process.returncode == ExitCode.BROKEN_PIPE


def test_the_value_or_the_error_of_a_cancelled_task_is_shown(stage: Stage):
    stage.write(
        """
        from understudy import cancelled, receive, task

        @task
        def polite():
            receive()
            return {"saved": cancelled()}

        @task
        def clumsy():
            receive()
            raise OSError("cannot save")
        """
    )
    stage.serve()
    ids = [stage.start(name) for name in ("app:polite", "app:clumsy")]
    for id in ids:
        stage.until_state(id, "running")
    assert stage("cancel", *ids).code == ExitCode.OK
    for id in ids:
        stage.until_state(id, "cancelled")
    answer = stage("result", ids[0])
    assert (answer.code, answer.out) == (ExitCode.TASK_CANCELLED, '{"saved": true}\n')
    assert stage("show", ids[0], "--json").json["result"] == {"saved": True}
    answer = stage("result", ids[1])
    assert (answer.code, answer.out) == (ExitCode.TASK_CANCELLED, "")
    assert "OSError: cannot save" in answer.err
    assert "OSError: cannot save" in stage("ps", "--task", "app:clumsy").out


def seen(served: Stage, id: str) -> dict[str, Any]:
    return dict(served("show", id, "--json").json)


def test_ps_and_show_say_how_many_tries_the_retries_allow(served: Stage):
    id = served.start("tale:zigzag", "3")
    until(lambda: seen(served, id)["state"] == "running" and seen(served, id)["attempt"] == 3)
    assert seen(served, id)["tries"] == 4
    assert re.search(r" running +3 of 4 ", served("ps", "--task", "tale:zigzag", COLUMNS="150").out)
    assert "3 of 4\n" in served("show", id).out
    served("close", id)
    served("result", id, "--wait")
    assert seen(served, id)["tries"] == 4, "an ended task keeps it"


def test_show_has_arguments_and_result(served: Stage):
    id = served.start("app:add", "1", "--kwargs", '{"b": 2}')
    served("result", id, "--wait")
    seen = served("show", id, "--json").json
    assert (seen["args"], seen["kwargs"], seen["result"]) == ([1], {"b": 2}, 3)
    assert "completed" in served("show", id).out


def test_show_has_links_and_monitors(served: Stage):
    parent = served.start("app:family")
    (child,) = until(lambda: served("show", parent, "--json").json["monitors"])
    told = served("show", parent, "--json").json
    assert (told["linked_to"], told["linked"]) == (None, [child])
    assert (told["monitors"], told["monitored_by"]) == ([child], [])
    told = served("show", child, "--json").json
    assert (told["linked_to"], told["linked"]) == (parent, [])
    assert (told["monitors"], told["monitored_by"]) == ([], [parent])
    lines = [line.split() for line in served("show", child).out.splitlines()]
    assert ["linked", "to", parent] in lines
    assert ["monitored", "by", parent] in lines
    served("cancel", parent)
    assert until(lambda: served("show", child, "--json").json["state"] == "cancelled")
    assert served("show", parent, "--json").json["linked"] == []


def test_escape_sequences_stay_in_the_store(served: Stage):
    served("run", "tale:[red]wolf[/red]")
    answer = served("ps", "--task", "tale:[red]wolf[/red]", NO_COLOR="1")
    id = served("ps", "--task", "tale:[red]wolf[/red]", "--json").json[0]["id"]
    for text in (
        answer.out,
        served("show", id).out,
        served("logs", id).out,
        served("show", id, "--json").out,
    ):
        assert text.replace("\n", "").isprintable()
    assert "tale:[red]wolf[/red]" in answer.out


def test_values_that_json_cannot_say(served: Stage):
    answer = served("run", "app:odd")
    assert answer.json == {"day": "2030-01-31", "raw": {"$bytes": "YWI="}, "7": [1, 2, 3]}


def test_result_without_waiting(served: Stage, quietly: Callable[..., str]):
    id = quietly("app:hours")
    answer = served("result", id)
    assert answer.code == ExitCode.NOT_ENDED
    assert "--wait" in answer.err
    assert served("result", id, "--timeout", "20ms").code == ExitCode.WAIT_TIMED_OUT
    served("cancel", id)
    assert served("result", id, "--wait").code == ExitCode.TASK_CANCELLED


def test_all_of_it_works_without_a_supervisor(stage: Stage):
    process, _ = stage.serve()
    id = stage.start("app:add", "1")
    post = stage.start("app:post")
    stage("send", post, "7")
    stage("close", post)
    assert stage("result", post, "--wait").out == "1\n"
    process.terminate()
    process.communicate(timeout=15)
    assert stage.shell("ps", "--json").json[0]["id"] == post
    assert stage.shell("show", id, "--json").json["state"] == "completed"
    assert stage("result", id, "--wait").out == "2\n"
    assert stage("checkpoint", post).out == "1\n"
    assert stage("checkpoint", id).out == "null\n"
    assert "adding 1 and 1" in stage("logs", "-f", id).out
    assert stage("check").code == ExitCode.OK


def test_a_home_that_does_not_exist_is_an_error(stage: Stage):
    answer = stage("ps", "--home", "nowhere")
    assert answer.code == ExitCode.HOME_UNUSABLE
    assert "--home" in answer.err
    assert not (stage.folder / "nowhere").exists()

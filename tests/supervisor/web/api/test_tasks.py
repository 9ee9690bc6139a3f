"""Tasks over HTTP, read from the store: the same as the command line shows."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import call_tasks as tasks
from understudy.supervisor.cli.main import run
from waiting import until
from web_client import Web, web


@pytest.fixture(scope="class")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, "call_tasks") as served:
        yield served


def shown_by_cli(it: Web, *command: str) -> Any:
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert run([*command, "--home", str(it.home)]) == 0
    return json.loads(printed.getvalue())


class TestTasks:
    def test_a_search_goes_on_page_by_page(self, it: Web):
        made = [info.id for info in it.rt.start_many(tasks.nap.options(delay=600), [1.0] * 5)]
        found: list[str] = []
        after = ""
        while True:
            page = it.get(f"/api/tasks?q=task:nap&limit=2{after}").json()
            found += [task["id"] for task in page["tasks"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert found == made[::-1]

    def test_a_mistake_in_a_query_is_shown(self, it: Web):
        answer = it.get("/api/tasks", params={"q": "state:faild"})
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        told = answer.json()
        assert (told["error"], told["data"]["query"]) == ("InvalidQuery", "state:faild")
        assert isinstance(told["data"]["column"], int)

    def test_a_task_is_what_the_command_line_shows(self, it: Web):
        info = it.rt.start(tasks.remember, {"a": [1, 2.5, None], "b": "x\u202e"})
        it.rt.wait(info, timeout=20)
        ours = it.get(f"/api/tasks/{info.id}").json()
        theirs = shown_by_cli(it, "show", info.id, "--json")
        assert ours.pop("kwargs") == {}
        assert ours == theirs
        assert "\u202e" not in it.get(f"/api/tasks/{info.id}").text
        (listed,) = it.get("/api/tasks?q=task:remember").json()["tasks"]
        assert listed == shown_by_cli(it, "ps", "task:remember", "--json")[0]
        assert it.get(f"/api/tasks/{info.id}/attempts").json()["attempts"] == theirs["attempts"]
        checkpoint = it.get(f"/api/tasks/{info.id}/checkpoint").json()
        assert checkpoint["value"] == {"a": [1, 2.5, None], "b": "x\u202e"}
        assert checkpoint["time"] == theirs["checkpoint_time"]

    def test_a_result_is_waited_for(self, it: Web):
        info = it.rt.start(tasks.collect, 1)
        early = it.get(f"/api/tasks/{info.id}/result?wait=0.05")
        assert early.status_code == 202
        assert early.json()["state"] in ("queued", "running")
        it.rt.send(info, "x")
        answer = it.get(f"/api/tasks/{info.id}/result?wait=20")
        assert (answer.status_code, answer.json()["value"]) == (200, ["x"])

    def test_another_end_is_a_problem_with_the_error_and_its_data(self, it: Web):
        info = it.rt.start(tasks.refuse, "not today")
        answer = it.get(f"/api/tasks/{info.id}/result?wait=20")
        assert answer.status_code == 409
        told = answer.json()
        assert told["error"] == "TaskFailed"
        assert told["data"]["id"] == info.id
        assert told["data"]["error"]["message"] == "not today"
        assert "refuse" in told["data"]["error"]["traceback"]

    def test_a_cancelled_task_keeps_its_value(self, it: Web):
        info = it.rt.start(tasks.nap, 60.0)
        until(lambda: it.rt.status(info).state == "running")
        it.rt.cancel(info)
        told = it.get(f"/api/tasks/{info.id}/result?wait=20").json()
        assert (told["error"], told["data"]["value"]) == ("TaskCancelled", "woken")

    def test_a_log_goes_on_where_it_ended(self, it: Web):
        info = it.rt.start(tasks.remember, 7)
        it.rt.wait(info, timeout=20)
        first = it.get(f"/api/tasks/{info.id}/logs").json()
        assert [(line["level"], line["text"]) for line in first["lines"]] == [("stdout", "remembered 7")]
        again = it.get(f"/api/tasks/{info.id}/logs?after={first['after']}").json()
        assert again == {"lines": [], "after": first["after"], "more": False}

    def test_a_mailbox_is_looked_into(self, it: Web):
        info = it.rt.start(tasks.collect.options(delay=600))
        it.rt.send_many([(info.id, n) for n in range(3)])
        seen = it.get(f"/api/tasks/{info.id}/messages?limit=2").json()
        assert seen == {"messages": [0, 1], "depth": 3}

    def test_a_stack(self, it: Web):
        info = it.rt.start(tasks.collect)
        until(lambda: it.rt.status(info).state == "running")
        seen = it.get(f"/api/tasks/{info.id}/stack").json()
        assert any("collect" in str(thread["frames"]) for thread in seen["threads"])
        token = it.rt.add_token("collectors", tasks=["call_tasks:collect"])
        assert not [
            each
            for each in it.get(f"/api/tasks/{info.id}/stack", token).json()["threads"]
            if each["role"] == "other"
        ]
        it.rt.cancel(info)
        it.rt.wait(info, timeout=20)
        gone = it.get(f"/api/tasks/{info.id}/stack")
        assert (gone.status_code, gone.json()["error"]) == (409, "StackUnavailable")

    @pytest.mark.parametrize("path", ["", "/result", "/checkpoint", "/attempts", "/logs", "/messages"])
    @pytest.mark.parametrize("id", ["0198f1c2-7b3e-7c11-9d1a-5f3c2b1a0e4d", "nonsense"])
    def test_an_unknown_task(self, it: Web, path: str, id: str):
        answer = it.get(f"/api/tasks/{id}{path}")
        assert answer.status_code == 404
        assert answer.json()["error"] == "TaskNotFound"

    def test_a_token_for_some_names_sees_no_others(self, it: Web):
        seen, hidden = it.rt.start(tasks.add, 1), it.rt.start(tasks.own_kind)
        it.rt.wait(seen, timeout=20)
        it.rt.wait(hidden, timeout=20)
        token = it.rt.add_token("adders", tasks=["call_tasks:a*"])
        listed = it.get("/api/tasks?limit=1000", token).json()["tasks"]
        assert {task["task"] for task in listed} == {"call_tasks:add"}
        for path in ("", "/result", "/checkpoint", "/attempts", "/logs", "/messages"):
            assert it.get(f"/api/tasks/{seen.id}{path}", token).status_code == 200
            assert it.get(f"/api/tasks/{hidden.id}{path}", token).status_code == 403

    def test_what_is_not_there(self, it: Web):
        assert it.get("/api/nothing").status_code == 404
        wrong = it.request("DELETE", "/api/tasks")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
        told = it.get("/api/tasks?limits=3")
        assert (told.status_code, "limit" in told.json()["detail"]) == (422, True)
        assert it.get("/api/tasks?limit=0").status_code == 422
        assert it.get("/api/tasks?limit=1001").status_code == 422

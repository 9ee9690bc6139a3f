"""Starts, messages, cancels and retries over HTTP, also with the web process killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import call_tasks as tasks
from understudy import Retry
from waiting import until
from web_client import Web, web


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, "call_tasks") as served:
        yield served


def start(it: Web, task: str, *args: Any, key: str | None = None, **more: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return it.post("/api/tasks", json={"task": f"call_tasks:{task}", "args": args, **more}, headers=headers)


class TestActions:
    def test_a_start(self, it: Web):
        answer = start(it, "add", 1, kwargs={"b": 2}, metadata={"for": "ada"}, priority=3)
        assert answer.status_code == 201
        made = answer.json()
        assert answer.headers["location"] == f"/api/tasks/{made['id']}"
        assert it.rt.result(made["id"], timeout=20) == 3
        record = it.rt.status(made["id"])
        assert (record.metadata, record.options["priority"]) == ({"for": "ada"}, 3)

    def test_options_that_are_not_given_are_those_of_the_task(self, it: Web):
        assert it.rt.status(start(it, "too_slow").json()["id"]).options == {}
        assert it.rt.status(start(it, "too_slow", timeout=None).json()["id"]).options == {"timeout": None}

    def test_every_option_of_a_start(self, it: Web):
        options: dict[str, Any] = {
            "retry": 2, "priority": -3, "grace": 5.0, "isolate": True, "capture_output": True, "unique": 60.0,
            "unique_by": ["a"], "on_conflict": "raise", "timeout": None, "keep": None, "memory_limit": 1 << 30,
            "pool": None,
        }  # fmt: skip
        answer = start(it, "add", 1, delay=600.0, **options)
        assert answer.status_code == 201, answer.text
        record = it.rt.status(answer.json()["id"])
        assert Retry.unpack(record.options.pop("retry")).attempts == options.pop("retry")
        assert record.options == {**options, "unique_by": ("a",)}
        again = start(it, "add", 1, delay=600.0, **options)
        assert (again.status_code, again.json()["error"], again.json()["data"]["id"]) == (
            409,
            "NotUnique",
            record.id,
        )
        assert start(it, "add", 1, unique=True, unique_key="k", delay=600.0).json()["existing"] is False
        assert start(it, "add", 2, unique=True, unique_key="k", delay=600.0).json()["existing"] is True

    def test_the_key_of_a_limit(self, it: Web):
        made = [start(it, "held", 20.0, limit_key=key).json()["id"] for key in ("a", "a", "b")]
        until(lambda: [it.rt.status(id).state for id in made] == ["running", "queued", "running"], 20)
        assert {(each.key, each.used) for each in it.rt.limits() if each.name.endswith(":held")} == {
            ("a", 1),
            ("b", 1),
        }
        for id in made:
            it.post(f"/api/tasks/{id}/cancel")
        refused = start(it, "add", 1, limit_key="a")
        assert (refused.status_code, refused.json()["error"]) == (400, "InvalidOption")

    def test_a_pool_that_is_not_there(self, it: Web):
        refused = start(it, "add", 1, pool="gpu")
        assert (refused.status_code, refused.json()["error"]) == (503, "UnknownPool")
        assert refused.json()["data"] == {"pool": "gpu", "pools": []}
        assert start(it, "add", 1, pool="-").status_code == 400

    def test_a_start_later(self, it: Web):
        at = "2030-01-31T08:00:00+00:00"
        record = it.rt.status(start(it, "add", 1, at=at).json()["id"])
        assert record.next_attempt == 1896076800
        assert it.get(f"/api/tasks/{record.id}").json()["next_attempt"] == "2030-01-31T08:00:00.000+00:00"
        assert it.rt.status(start(it, "add", 1, delay=600.0).json()["id"]).waits_for == "time"

    def test_the_same_key_is_the_same_task(self, it: Web):
        answers = [start(it, "add", 1, key="order 7") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 200, 200]
        assert [answer.json()["existing"] for answer in answers] == [False, True, True]
        made = [answer.json()["id"] for answer in answers]
        assert len(set(made)) == 1
        other = start(it, "own_kind", key="order 7")
        assert (other.status_code, made[0] in other.text) == (409, False)
        it.rt.wait(made[0], timeout=20)
        again = start(it, "add", 1, key="order 7", on_ended="start").json()["id"]
        assert again != made[0]

    @pytest.mark.parametrize(
        ("body", "status", "says"),
        [
            ({"task": "call_tasks:add"}, 400, "do not fit"),
            ({"task": "call_tasks:nothing"}, 404, "declares no task"),
            ({"task": "nonsense"}, 404, "declares no task"),
            ({"task": "call_tasks:add", "args": {}}, 422, "args"),
            ({"task": "call_tasks:add", "priority": "1"}, 422, "priority"),
            ({"task": "call_tasks:add", "priority": 101}, 422, "priority"),
            ({"task": "call_tasks:add", "args": [1], "timeout": -1.0}, 400, "timeout"),
            ({"task": "call_tasks:add", "args": [1], "at": "soon"}, 400, "at: "),
            ({"task": "call_tasks:add", "args": [1], "grace": None, "unique": "always"}, 422, "unique"),
            ({"task": "call_tasks:add", "args": [1], "unique": -1.0}, 400, "unique"),
            ({"task": "call_tasks:add", "args": [1], "unique_key": "k"}, 400, "unique"),
            ({"task": "call_tasks:add", "args": [1], "memory_limit": 1}, 400, "memory_limit"),
            ({"task": "call_tasks:add", "args": [1], "stream_id": "x"}, 400, "x"),
            ({"task": "call_tasks:add", "arg": [1]}, 422, "body.arg"),
            ([], 422, "body"),
        ],
    )
    def test_a_wrong_start_changes_nothing(self, it: Web, body: Any, status: int, says: str):
        before = it.rt.counts()
        answer = it.post("/api/tasks", json=body)
        assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
        assert it.rt.counts() == before

    @pytest.mark.parametrize(
        ("content", "status", "says"),
        [
            (b'{"task": ', 400, "the body is not JSON: Expecting value, at character 9"),
            (b"[" * 100_000, 400, "the body"),
            (b'{"task": "\xff"}', 400, "the body"),
            (b"NaN", 422, "body"),
            (b"", 422, "body"),
        ],
    )
    def test_what_is_no_json(self, it: Web, content: bytes, status: int, says: str):
        answer = it.post("/api/tasks", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, says in answer.json()["detail"]) == (status, True), answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    def test_what_cannot_be_written_is_told(self, it: Web):
        answer = it.post(
            "/api/tasks",
            content=b'{"task": "call_tasks:add", "args": [{"a": "\\ud800"}, 1' + b"0" * 5000 + b"]}",
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code in (400, 422)

    def test_messages_with_a_key_come_once(self, it: Web):
        info = it.rt.start(tasks.collect)
        for key, message in [("1", "a"), ("1", "a"), ("2", "b"), ("1", "not this one")]:
            answer = it.post(
                f"/api/tasks/{info.id}/messages",
                json={"messages": [message, message]},
                headers={"Idempotency-Key": key},
            )
            assert answer.status_code == 204
        it.post(f"/api/tasks/{info.id}/close")
        assert it.rt.result(info, timeout=20) == ["a", "a", "b", "b"]
        again = it.post(
            f"/api/tasks/{info.id}/messages", json={"messages": ["a"]}, headers={"Idempotency-Key": "1"}
        )
        assert again.status_code == 204, "its task has ended, and it was taken before"

    @pytest.mark.parametrize("header", ["00-x", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
    def test_a_trace_context_that_is_none(self, it: Web, header: str):
        made = it.post(
            "/api/tasks",
            json={"task": "call_tasks:add", "args": [1]},
            headers={"traceparent": header},
        ).json()
        assert it.rt.status(made["id"]).trace is None

    def test_what_a_request_starts_keeps_its_trace_context(self, it: Web):
        header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        body = {"task": "call_tasks:add", "args": [1]}
        made = it.post("/api/tasks", json=body, headers={"traceparent": header}).json()["id"]
        assert it.rt.status(made).trace == header
        assert it.get(f"/api/tasks/{made}").json()["trace"] == header
        assert it.rt.status(it.post("/api/tasks", json=body).json()["id"]).trace is None
        it.rt.wait(made, timeout=20)
        again = it.post(f"/api/tasks/{made}/retry", json={"args": [2]}, headers={"traceparent": header})
        assert it.rt.status(again.json()["id"]).trace == header

    def test_messages_come_in_their_order_and_a_close_ends_them(self, it: Web):
        info = it.rt.start(tasks.collect)
        assert (
            it.post(f"/api/tasks/{info.id}/messages", json={"messages": [1, {"x": None}]}).status_code == 204
        )
        assert it.post(f"/api/tasks/{info.id}/messages", json={"messages": ["last"]}).status_code == 204
        assert it.post(f"/api/tasks/{info.id}/close").status_code == 204
        assert it.rt.result(info, timeout=20) == [1, {"x": None}, "last"]
        late = it.post(f"/api/tasks/{info.id}/messages", json={"messages": [1]})
        assert (late.status_code, late.json()["error"]) == (409, "MailboxClosed")
        assert late.json()["data"] == {"id": info.id}

    def test_a_cancel(self, it: Web):
        info = it.rt.start(tasks.nap.options(delay=600), 1.0)
        told = it.post(f"/api/tasks/{info.id}/cancel").json()
        assert told == {"id": info.id, "cancelled": True, "state": "cancelled"}
        assert it.post(f"/api/tasks/{info.id}/cancel").json()["cancelled"] is False

    def test_a_retry(self, it: Web):
        info = it.rt.start(tasks.remember, "it")
        assert it.post(f"/api/tasks/{info.id}/retry", json={}).status_code in (201, 409)
        it.rt.wait(info, timeout=20)
        made = it.post(f"/api/tasks/{info.id}/retry", json={}).json()
        assert made["retry_of"] == info.id
        assert it.rt.result(made["id"], timeout=20) == "it"
        scratch = it.post(f"/api/tasks/{info.id}/retry", json={"from_scratch": True}).json()
        assert it.rt.result(scratch["id"], timeout=20) is None

    def test_a_retry_with_a_key_is_one(self, it: Web):
        info = it.rt.start(tasks.refuse)
        it.rt.wait(info, timeout=20)
        made = {
            it.post(f"/api/tasks/{info.id}/retry", json={}, headers={"Idempotency-Key": "once"}).json()["id"]
            for _ in range(3)
        }
        assert len(made) == 1
        assert len(it.rt.search("task:refuse", limit=50)) == 2

    def test_a_retry_with_other_arguments_keeps_the_options(self, it: Web):
        info = it.rt.start(tasks.add.options(priority=5, metadata={"for": "ada"}), 1)
        it.rt.wait(info, timeout=20)
        for _ in range(2):
            answer = it.post(
                f"/api/tasks/{info.id}/retry",
                json={"args": [4], "kwargs": {"b": 5}},
                headers={"Idempotency-Key": "a"},
            )
        record = it.rt.wait(answer.json()["id"], timeout=20)
        assert it.rt.result(record.id) == 9
        assert (record.options["priority"], record.metadata) == (5, {"for": "ada"})
        assert record.stream_id == info.stream_id
        assert len(it.rt.search(f"stream:{info.stream_id}", limit=50)) == 2

    def test_a_task_that_runs_is_not_retried(self, it: Web):
        info = it.rt.start(tasks.nap.options(delay=600), 1.0)
        assert it.post(f"/api/tasks/{info.id}/retry", json={}).status_code == 409

    def test_tasks_of_other_names(self, it: Web):
        token = it.rt.add_token("adders", role="run", tasks=["call_tasks:add"])
        hidden = it.rt.start(tasks.nap.options(delay=600), 1.0)
        for path, body in {
            "messages": {"messages": [1]},
            "close": None,
            "cancel": None,
            "retry": {},
        }.items():
            assert it.post(f"/api/tasks/{hidden.id}/{path}", token, json=body).status_code == 403
        assert it.post("/api/tasks", token, json={"task": "call_tasks:nap", "args": [1]}).status_code == 403
        assert it.post("/api/tasks", token, json={"task": "call_tasks:add", "args": [1]}).status_code == 201
        assert it.rt.status(hidden).state == "queued"

    def test_the_audit_has_it(self, it: Web):
        id = start(it, "add", 1).json()["id"]
        it.post(f"/api/tasks/{id}/cancel")
        entries = it.rt.audit(limit=2)
        assert [(entry.action, entry.outcome) for entry in entries] == [
            (f"POST /api/tasks/{id}/cancel", "200"),
            ("POST /api/tasks", "201"),
        ]


def test_without_a_supervisor_reading_goes_on_and_changes_are_refused_for_now(it: Web):
    info = it.rt.start(tasks.add, 1)
    it.rt.wait(info, timeout=20)
    os.kill(it.rt.supervisor_pid, signal.SIGSTOP)
    try:
        assert it.get(f"/api/tasks/{info.id}/result").json()["value"] == 2
        answer = it.post("/api/tasks", json={"task": "call_tasks:add", "args": [1]})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
    finally:
        os.kill(it.rt.supervisor_pid, signal.SIGCONT)
    until(lambda: start(it, "add", 1).status_code == 201)


def test_a_key_survives_the_web_process(home: Path):
    with web(home, "call_tasks") as it:
        pid = it.pid
        first = start(it, "add", 5, key="survivor").json()["id"]
        os.kill(pid, signal.SIGKILL)
        assert start(it, "add", 5, key="survivor").json()["id"] == first
        assert it.pid != pid

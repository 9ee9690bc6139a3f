"""Triggers over real HTTP, with a real supervisor: what callers are told, and what is stored."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import http_tasks
from theatre import PATIENCE, ready
from theatre import runtime as stage_runtime
from understudy import Runtime, State
from understudy.actors.values import unpack
from waiting import until

SECRET = b"tiger"
STANDARD = b"k" * 24


def hook(body: bytes, delivery: str, secret: bytes = SECRET) -> dict[str, str]:
    signature = hmac.new(secret, body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Delivery": delivery}


def standard(body: bytes, delivery: str, at: float | None = None) -> dict[str, str]:
    seconds = str(int(time.time() if at is None else at))
    message = f"{delivery}.{seconds}.".encode() + body
    signature = b64encode(hmac.new(STANDARD, message, hashlib.sha256).digest()).decode()
    return {"webhook-id": delivery, "webhook-timestamp": seconds, "webhook-signature": f"v1,{signature}"}


class Stage:
    """A runtime, its triggers' server and a client of that."""

    def __init__(self, rt: Runtime, client: httpx.Client, notes: Path) -> None:
        self.rt = rt
        self.client = client
        self._notes = notes

    def notes(self, name: str) -> list[str]:
        file = self._notes / name
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    def record(self, answer: httpx.Response) -> Any:
        return self.rt.status(answer.headers["understudy-run"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("h") / "home"
    notes = tmp_path_factory.mktemp("notes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_TEST_NOTES", str(notes))
        patch.setenv("GITHUB_SECRET", SECRET.decode())
        patch.setenv("STANDARD_SECRET", "whsec_" + b64encode(STANDARD).decode())
        listens = {"web": "127.0.0.1:0", "body_bytes": 1024}
        with (
            stage_runtime(home, app="http_tasks", durability="os", slots=2, web=listens) as rt,
            httpx.Client(base_url=rt.web_url or "", timeout=PATIENCE) as client,
        ):
            ready(rt, 1)
            yield Stage(rt, client, notes)


class TestAnswers:
    def test_a_value_is_json_with_everything_the_handler_got(self, stage: Stage):
        answer = stage.client.post(
            "/echo/a%20b?x=1&x=2&y=%C3%BC",
            content=b"\xff\x00",
            headers={"X-Kept": "yes", "Authorization": "Bearer s3cret", "Cookie": "s3cret=1"},
        )
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
        told = answer.json()
        assert told["status"] == 418, "a dict with the key status is a value"
        assert (told["method"], told["path"], told["params"]) == ("POST", "/echo/a b", {"name": "a b"})
        assert (told["query"], told["body"]) == (
            {"x": "2", "y": "ü"},
            {"$bytes": b64encode(b"\xff\x00").decode()},
        )
        assert (told["kind"], told["trigger"]) == ("http", ["POST", "/echo/{name}"])
        assert told["headers"]["x-kept"] == "yes"
        assert not {"authorization", "cookie"} & told["headers"].keys()

    def test_the_record_knows_kind_and_trigger_and_no_secret(self, stage: Stage):
        answer = stage.client.get("/echo/x", headers={"Authorization": "Bearer s3cret", "Cookie": "s3cret=1"})
        record = stage.record(answer)
        assert (record.kind, record.state) == ("http", State.COMPLETED)
        assert (record.trigger.method, record.trigger.path) == ("GET", "/echo/{name}")
        args = stage.rt._reader.args(_id(record.id))
        assert args is not None
        assert b"s3cret" not in args
        assert unpack(args)[0][0].path == "/echo/x"

    @pytest.mark.parametrize("path", ["/nothing", "/nothing/async"])
    def test_none_is_204(self, stage: Stage, path: str):
        answer = stage.client.get(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert stage.record(answer).state is State.COMPLETED

    def test_a_response_is_itself(self, stage: Stage):
        answer = stage.client.get("/made")
        assert (answer.status_code, answer.text) == (201, "ü")
        assert (answer.headers["location"], answer.headers["content-type"]) == ("/thing", "text/plain")

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/absent", 404),
            ("DELETE", "/echo/x", 405),
            ("GET", "/chat", 405),
            ("OPTIONS", "/echo/x", 405),
        ],
    )
    def test_what_nothing_handles(self, stage: Stage, method: str, path: str, status: int):
        answer = stage.client.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["status"] == status
        if path == "/echo/x":
            assert answer.headers["allow"] == "GET, POST"

    def test_errors_say_no_more_than_they_may(self, stage: Stage):
        answer = stage.client.post("/fails/worse")
        assert (answer.status_code, answer.json()["detail"]) == (500, "the run has failed")
        assert "swordfish" not in answer.text
        assert answer.json()["run"] == answer.headers["understudy-run"]
        assert "swordfish" in str(stage.record(answer).error)

    @pytest.mark.parametrize(("how", "detail"), [("json", "not JSON"), ("bad", "no such pet: <b>")])
    def test_a_bad_request_is_400_with_its_reason(self, stage: Stage, how: str, detail: str):
        answer = stage.client.post(f"/fails/{how}", content=b"{")
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
        assert detail in answer.json()["detail"]

    def test_a_timeout_is_504_and_the_run_goes_on(self, stage: Stage):
        answer = stage.client.get("/slow")
        assert answer.status_code == 504
        id = answer.json()["run"]
        assert stage.rt.status(id).state is State.RUNNING
        stage.rt.send(id, "go")
        assert stage.rt.result(id, timeout=PATIENCE) == "go"

    def test_a_caller_that_leaves_cancels_its_run(self, stage: Stage):
        with pytest.raises(httpx.ReadTimeout):
            stage.client.get("/leaves", timeout=0.5)
        (record,) = stage.rt.list(task="http_tasks:leaves")
        assert stage.rt.wait(record.id, timeout=PATIENCE).state is State.CANCELLED

    def test_a_token_is_needed(self, stage: Stage):
        def status(token: str | None) -> int:
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return stage.client.post("/members", headers=headers).status_code

        assert status(None) == 401
        assert status("nonsense") == 401
        assert status(stage.rt.add_token("reader", role="read")) == 403
        assert status(stage.rt.add_token("others", role="run", tasks=["other*"])) == 403
        assert status(stage.rt.add_token("member", role="run", tasks=["http_tasks:*"])) == 200

    def test_a_body_that_is_too_large_is_refused(self, stage: Stage):
        assert stage.client.post("/echo/x", content=b"a" * 1025).status_code == 413
        assert stage.client.post("/echo/x", content=iter([b"a" * 600, b"a" * 600])).status_code == 413
        assert stage.client.post("/echo/x", content=b"a" * 1024).status_code == 200

    def test_accepted_is_202_with_the_other_task(self, stage: Stage):
        answer = stage.client.post("/later")
        assert (answer.status_code, answer.json()["run"]) == (202, answer.headers["understudy-run"])
        assert stage.rt.result(answer.json()["id"], timeout=PATIENCE) == "done"

    def test_live_is_the_stream_of_the_task(self, stage: Stage):
        with stage.client.stream("POST", "/chat", json="to be or") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = "".join(answer.iter_text())
        events = [
            dict(line.split(": ", 1) for line in part.split("\n")) for part in text.strip().split("\n\n")
        ]
        words = [json.loads(each["data"])["text"] for each in events if each["event"] == "word"]
        assert words == ["to", "be", "or"]
        assert (events[-1]["event"], json.loads(events[-1]["data"])) == ("end", {"state": "completed"})
        assert all(event["id"] for event in events)


class TestHooks:
    def test_an_ack_is_202_and_the_run_is_retried(self, stage: Stage):
        body = b'{"fails": true}'
        answer = stage.client.post("/hooks/github", content=body, headers=hook(body, "d-1"))
        assert (answer.status_code, answer.json()["run"]) == (202, answer.headers["understudy-run"])
        record = stage.rt.wait(answer.json()["run"], timeout=PATIENCE)
        assert (record.state, record.attempt, record.trigger.delivery) == (State.COMPLETED, 2, "d-1")

    def test_the_same_delivery_is_the_same_run(self, stage: Stage):
        body = b"{}"
        answers = [
            stage.client.post("/hooks/github", content=body, headers=hook(body, "d-2")) for _ in range(3)
        ]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["run"] for answer in answers}) == 1
        assert stage.rt.result(answers[0].json()["run"], timeout=PATIENCE) == "d-2"
        assert stage.notes("pushed").count("d-2") == 1

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-GitHub-Delivery": "d-3"},
            {**hook(b"{}", "d-3"), "X-Hub-Signature-256": "sha256=00"},
            hook(b"{} ", "d-3"),
            hook(b"{}", "d-3", b"lion"),
            hook(b"{}", "d-3", b""),
        ],
        ids=["none", "wrong", "altered", "another secret", "no secret"],
    )
    def test_what_is_not_signed_is_refused_and_starts_nothing(self, stage: Stage, headers: dict[str, str]):
        answer = stage.client.post("/hooks/github", content=b"{}", headers=headers)
        assert (answer.status_code, answer.json()["detail"]) == (401, "the signature is not valid")
        assert "d-3" not in [
            each.trigger.delivery for each in stage.rt.list(task="http_tasks:pushed") if each.trigger
        ]

    def test_a_hook_without_its_delivery_is_refused(self, stage: Stage):
        headers = hook(b"{}", "x")
        del headers["X-GitHub-Delivery"]
        assert stage.client.post("/hooks/github", content=b"{}", headers=headers).status_code == 400
        long = {**headers, "X-GitHub-Delivery": "x" * 501}
        assert stage.client.post("/hooks/github", content=b"{}", headers=long).status_code == 400

    def test_a_stale_hook_is_refused(self, stage: Stage):
        for at in (time.time() - 400, time.time() + 400):
            answer = stage.client.post("/hooks/standard", content=b"{}", headers=standard(b"{}", "m-0", at))
            assert answer.status_code == 401

    def test_a_repeated_caller_gets_the_value_of_the_first_run(self, stage: Stage):
        first, second = (
            stage.client.post("/hooks/standard", content=b"{}", headers=standard(b"{}", "m-1"))
            for _ in range(2)
        )
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json() == second.json() == first.headers["understudy-run"]
        assert stage.notes("standard").count("m-1") == 1

    def test_many_at_once_of_one_delivery_are_one_run(self, stage: Stage):
        answers: list[httpx.Response] = []

        def call() -> None:
            answers.append(
                stage.client.post("/hooks/standard", content=b"{}", headers=standard(b"{}", "m-2"))
            )

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({answer.json() for answer in answers}) == 1
        assert stage.notes("standard").count("m-2") == 1

    def test_the_signature_is_not_stored(self, stage: Stage):
        body = b"{}"
        headers = hook(body, "d-4")
        answer = stage.client.post("/hooks/github", content=body, headers=headers)
        args = stage.rt._reader.args(_id(answer.json()["run"]))
        assert args is not None
        assert headers["X-Hub-Signature-256"].encode() not in args
        assert b"x-hub-signature" not in args


class TestSlots:
    def test_a_hook_begins_while_every_slot_is_busy(self, stage: Stage):
        infos = [stage.rt.start(http_tasks.occupies, 600) for _ in range(40)]
        until(lambda: sum(info.status().state is State.RUNNING for info in infos) >= 2, PATIENCE)
        delays = []
        for path in ("/busy", "/busy/async") * 5:
            sent = time.time()
            delays.append(stage.client.post(path).json() - sent)
        assert sum(info.status().state is State.RUNNING for info in infos) >= 2, "they were busy all the time"
        for info in infos:
            info.cancel()
        for info in infos:
            info.wait(PATIENCE)
        # The best of each kind: the machine may be busy with other things.
        assert min(delays[::2]) < 0.1, delays
        assert min(delays[1::2]) < 0.1, delays

    def test_runs_that_wait_hold_no_run_slot(self, stage: Stage):
        began = time.monotonic()
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(stage.client.post("/waits").status_code))
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 12
        assert time.monotonic() - began < 12 * 0.3 / 4 + 10


def _id(text: str) -> bytes:
    return bytes.fromhex(text.replace("-", ""))

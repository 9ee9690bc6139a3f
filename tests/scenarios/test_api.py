"""The API of everything that is no task; and docs/api.md: its examples run, and its table has every address."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import shop_tasks as shop
import tree_tasks
from checkout import ROOT
from needs import require
from understudy import Supervisor, Task, child
from understudy.supervisor.cli.main import run
from waiting import until
from web_client import Web, web
from web_roles import ROLES

PAGE = (ROOT / "docs/api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def examples() -> list[tuple[str, str]]:
    """Each command with curl, and what the page says that it prints."""
    found: list[tuple[str, str]] = []
    for block in BLOCKS:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            if command.startswith("curl"):
                found.append((command, printed.strip()))
    return found


def fits(printed: str, said: str) -> bool:
    """Whether it is what the page says. There, ids are shortened, and `…` stands for what is left out."""
    pattern = ".*".join(map(re.escape, ID.sub("ID", said).replace("0198f1c2-…", "ID").split("…")))
    return re.fullmatch(pattern, ID.sub("ID", printed), re.DOTALL) is not None


def test_the_examples_print_what_the_page_says(home: Path):
    curl = shutil.which("curl")
    require(curl, "curl")
    with web(home, "shop_tasks") as it:
        done = it.rt.start(shop.charge, 7)
        waiting = it.rt.start(shop.stocktake, 5)
        running = it.rt.start(shop.nap)
        failed = it.rt.start(shop.ship, 7)
        it.rt.wait(failed, timeout=20)
        it.rt.wait(done, timeout=20)
        until(lambda: it.rt.status(waiting).progress)
        names = {
            "URL": it.url,
            "TOKEN": it.token,
            "ID": done.id,
            "WAITING": waiting.id,
            "RUNNING": running.id,
            "FAILED": failed.id,
            "ACTOR": it.rt.actor("shop_tasks:Basket", "ada").id,
        }
        for command, said in examples():
            ended = subprocess.run(
                ["sh", "-c", command],
                env={**os.environ, **names},
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            assert fits(ended.stdout, said), (command, ended.stdout)
            if ended.stdout:
                json.loads(ended.stdout)


def test_the_table_has_every_address():
    rows = re.findall(r"^\| `(\w+ /(?:api/|healthz|readyz|metrics)\S*)` \| (\S+) \|", PAGE, re.MULTILINE)
    served = {
        re.sub(r":(path|uuid)}", "}", name): role or "none"
        for name, role in ROLES.items()
        if re.match(r"\w+ /(api/|healthz|readyz|metrics)", name)
    }
    assert dict(rows) == served


@pytest.fixture(scope="class")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    home: Path = tmp_path_factory.mktemp("h") / "home"
    with web(home, "api_app") as served:
        yield served


def shown(it: Web, *command: str) -> Any:
    """What the command line prints with --json."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert run([*command, "--json", "--home", str(it.home)]) == 0
    return json.loads(printed.getvalue())


class TestNouns:
    """All on one home."""

    def test_actors(self, it: Web):
        ada, bob = (
            it.rt.actor("kit_tasks:Account", "ada", "Ada"),
            it.rt.actor("kit_tasks:Account", "bob", "Bob"),
        )
        calls = f"/api/actors/{ada.id}/calls"
        deposit = {"method": "deposit", "args": [5]}
        for _ in range(2):
            assert it.post(calls, json=deposit, headers={"Idempotency-Key": "pay"}).json() == {"value": 5}
        wrong = it.post(calls, json={"method": "overdraw", "args": [50]})
        assert (wrong.status_code, wrong.json()["error"]) == (409, "RemoteError")
        assert wrong.json()["data"]["error"]["type"] == "ValueError"
        assert it.post(calls, json={"method": "_secret"}).status_code == 422
        assert it.post(f"/api/actors/{ada.id}/messages", json={"message": {"n": 2}}).status_code == 204
        assert it.post(calls, json={"method": "peek"}).json()["value"] == 7
        state = it.get(f"/api/actors/{ada.id}/state").json()
        assert state["attributes"]["balance"] == 7
        first = it.get("/api/actors?cls=Account&limit=1").json()
        assert [each["id"] for each in first["actors"]] == [ada.id]
        second = it.get(f"/api/actors?cls=Account&limit=1&after={first['next']}").json()
        assert [each["id"] for each in second["actors"]] == [bob.id]
        # Its turn may still be about to be noted when one of the two looks.
        until(
            lambda: (
                it.get("/api/actors?prefix=b").json()["actors"] == shown(it, "actor", "ls", "--prefix", "b")
            ),
            20,
        )
        token = it.rt.add_token("no actors", tasks=["call_tasks:*"])
        assert it.get("/api/actors", token).json()["actors"] == []
        assert it.get(f"/api/actors/{ada.id}/state", token).status_code == 403
        task = it.rt.start("call_tasks:add", 1)
        assert it.get(f"/api/actors/{task.id}/state").status_code == 400

    def test_dead_letters(self, it: Web):
        sieve = it.rt.actor("kit_tasks:Sieve", "fine")
        sieve.tell(13)
        letters = until(lambda: it.get(f"/api/actors/{sieve.id}/dead-letters").json()["letters"], 20)
        assert letters == shown(it, "actor", "dead", sieve.id)
        again = it.post(f"/api/actors/{sieve.id}/redrive", json={"letter": letters[0]["id"]})
        assert again.json() == {"redriven": 1}

    def test_events_and_streams(self, it: Web):
        event = {"name": "order.closed", "data": {"order": 7}}
        made = [
            it.post("/api/events", json=event, headers={"Idempotency-Key": "order-7"}).json()
            for _ in range(2)
        ]
        assert made[0] == made[1]
        assert (made[0]["id"], len(made[0]["runs"])) == ("order-7", 1)
        it.rt.wait(made[0]["runs"][0], timeout=20)
        told = it.get("/api/events/order-7").json()
        assert told == shown(it, "events", "show", "order-7")
        listed = it.get("/api/events?name=order.*").json()["events"]
        assert listed == shown(it, "events", "list", "order.*")
        replayed = it.post("/api/events/order-7/replay", json={}).json()
        assert len(replayed["runs"]) == 1
        stream = it.get(f"/api/streams/{made[0]['stream_id']}").json()
        it.rt.wait(replayed["runs"][0], timeout=20)
        assert {node["kind"] for node in stream["roots"]} == {"event"}
        assert re.fullmatch(r"20\d\d-\S+\+00:00", stream["roots"][0]["time"])
        assert made[0]["stream_id"] in {each["id"] for each in it.get("/api/streams").json()["streams"]}
        assert it.get("/api/streams/nonsense").status_code == 404
        assert it.get("/api/events/nothing").status_code == 404

    def test_schedules(self, it: Web):
        listed = it.get("/api/schedules").json()["schedules"]
        assert [each["key"] for each in listed] == ["shop_schedules:report", "shop_schedules:sweep"]
        key = "/api/schedules/shop_schedules:report"
        assert it.post(f"{key}/pause").json()["state"] == "paused"
        assert it.post(f"{key}/resume").json()["state"] == "active"
        ran = it.post(f"{key}/run").json()["id"]
        assert it.rt.wait(ran, timeout=20).trigger.schedule == "shop_schedules:report"  # type: ignore[union-attr]
        body = {"start": "2026-03-02T00:00+00:00", "end": "2026-03-04T00:00+00:00"}
        assert len(it.post(f"{key}/backfill", json=body).json()["ids"]) == 2
        one = it.get(key).json()
        assert len(one.pop("times_next")) == 10
        theirs = shown(it, "schedules", "show", "shop_schedules:report", "-n", "0")
        assert (one["history"], one["key"], one["definition"]) == (
            theirs["history"],
            theirs["key"],
            theirs["definition"],
        )
        assert it.post(f"{key}/cancel").status_code == 400
        token = it.rt.add_token("sweeper", role="run", tasks=["*:sweep"])
        assert [each["task"] for each in it.get("/api/schedules?limit=1", token).json()["schedules"]] == [
            "shop_schedules:sweep"
        ]
        assert it.post(f"{key}/pause", token).status_code == 403

    def test_counts_stats_and_errors(self, it: Web):
        it.rt.wait(it.rt.start("call_tasks:refuse", "no"), timeout=20)
        it.rt.wait(it.rt.start("call_tasks:add", 1), timeout=20)
        assert it.get("/api/counts").json()["tasks"] == shown(it, "stats")
        ours = it.get("/api/stats?window=10m&task=call_tasks:*").json()
        theirs = shown(it, "stats", "--window", "10m", "call_tasks:*")
        assert (ours["ended"], ours["tasks"].keys()) == (theirs["ended"], theirs["tasks"].keys())
        assert it.get("/api/errors?task=refuse").json()["errors"] == shown(it, "errors", "--task", "refuse")
        assert it.get("/api/stats?window=ever").status_code == 400
        token = it.rt.add_token("adder", tasks=["call_tasks:add"])
        assert it.get("/api/counts", token).json()["tasks"].keys() == {"call_tasks:add"}
        assert it.get("/api/stats", token).json()["tasks"].keys() == {"call_tasks:add"}
        assert "failed" not in it.get("/api/stats", token).json()["ended"]
        assert it.get("/api/errors", token).json()["errors"] == []

    def test_workers_containers_and_declared_tasks(self, it: Web):
        workers = it.get("/api/workers").json()
        assert workers["pid"] == it.rt.supervisor_pid
        assert [each["pid"] for each in workers["workers"]] == [
            each["pid"] for each in it.rt.tree()["workers"]
        ]
        assert it.get("/api/containers").json()["tasks"] == []
        assert "call_tasks:add" in it.get("/api/declared").json()["tasks"]
        assert it.get("/api/declared/call_tasks:add").json()["parameters"] == [
            {"name": "a", "kind": "positional_or_keyword", "required": True},
            {"name": "b", "kind": "positional_or_keyword", "required": False},
        ]
        token = it.rt.add_token("one task", tasks=["call_tasks:add"])
        assert it.get("/api/declared", token).json()["tasks"] == ["call_tasks:add"]
        assert it.get("/api/declared/call_tasks:nap", token).status_code == 403

    def test_trees(self, it: Web):
        tree = Supervisor("shop", children=[child("till", tree_tasks.service, "till")])
        it.rt.supervise(tree)
        until(lambda: it.get("/api/trees/shop/till").json()["state"] == "running", 20)
        (listed,) = it.get("/api/trees").json()["trees"]
        assert listed["children"][0]["path"] == "shop/till"
        assert it.post("/api/trees/shop/till/restart").status_code == 200
        assert it.post("/api/trees/shop/stop").status_code == 200
        until(lambda: it.get("/api/trees/shop").json()["state"] == "stopped", 20)
        assert it.get("/api/trees/none").json()["error"] == "TreeNotFound"

    def test_limits(self, it: Web):
        answer = it.get("/api/limits")
        assert answer.status_code == 200, answer.text
        listed = answer.json()["limits"]
        assert listed == shown(it, "limits")
        name = listed[0]["name"]
        assert it.request("PATCH", f"/api/limits/{name}", json={"concurrency": 7}).status_code == 204
        changed = [each for each in it.get("/api/limits").json()["limits"] if each["name"] == name]
        assert {each["concurrency"] for each in changed} == {7}
        assert it.request("DELETE", f"/api/limits/{name}").status_code == 204
        assert it.get("/api/limits").json()["limits"] == listed
        assert it.request("PATCH", "/api/limits/none", json={"rate": "1/s"}).status_code == 404

    def test_pools(self, it: Web):
        listed = it.get("/api/pools").json()["pools"]
        assert [each["name"] for each in listed] == [None]
        assert listed[0].keys() == shown(it, "pools")[0].keys()
        assert it.get("/api/pools", it.rt.add_token("one", tasks=["x:*"])).status_code == 403

    def test_bulk_touches_what_the_dry_run_has_found(self, it: Web):
        made = [it.rt.start(Task.named("call_tasks:nap").options(delay=600), 1.0) for _ in range(3)]
        wanted = {"do": "cancel", "query": "task:nap"}
        found = it.post("/api/bulk/dry-run", json=wanted).json()
        assert (found["found"], {each["id"] for each in found["sample"]}) == (3, {info.id for info in made})
        late = it.rt.start(Task.named("call_tasks:nap").options(delay=600), 1.0)
        confirmed = {"id": found["id"], "found": 3}
        assert it.post("/api/bulk", json={**confirmed, "found": 2}).status_code == 409
        assert it.get(f"/api/bulk/{found['id']}").status_code == 404
        assert it.rt.status(made[0]).state == "queued"
        answer = it.post("/api/bulk", json=confirmed)
        assert (answer.status_code, answer.json()["id"], answer.json()["total"]) == (202, found["id"], 3)
        ended = it.get(f"/api/bulk/{found['id']}?wait=30").json()
        assert (ended["state"], ended["outcomes"]) == ("completed", {"cancelled": 3})
        assert ended["by"] == it.get("/whoami").json()["name"], "the audit names the token"
        assert it.post("/api/bulk", json=confirmed).json() == ended, "sent again, it does nothing twice"
        assert (it.rt.status(made[0]).state, it.rt.status(late).state) == ("cancelled", "queued")
        assert it.get("/api/bulk?limit=1").json() == {"bulks": [ended], "next": ended["id"]}
        assert ended not in it.get(f"/api/bulk?after={ended['id']}").json()["bulks"]
        first = it.get(f"/api/bulk/{ended['id']}/outcomes?limit=2").json()
        rest = it.get(f"/api/bulk/{ended['id']}/outcomes?after={first['next']}").json()
        told = [*first["outcomes"], *rest["outcomes"]]
        assert {each["id"] for each in told} == {info.id for info in made}
        assert {each["outcome"] for each in told} == {"cancelled"}
        assert rest["next"] is None
        assert it.get(f"/api/bulk/{ended['id']}/outcomes?after=-1").status_code == 400
        assert it.post(f"/api/bulk/{ended['id']}/cancel").json() == {"id": ended["id"], "cancelled": False}
        assert it.post("/api/bulk/dry-run", json={"do": "cancel", "query": " "}).status_code == 400
        old = {"id": late.id, "found": 1}
        assert it.post("/api/bulk", json=old).status_code == 404
        for path in ("", "/outcomes"):
            assert it.get(f"/api/bulk/{late.id}{path}").json()["error"] == "BulkNotFound"

    def test_tokens_and_the_audit(self, it: Web):
        made = it.post(
            "/api/tokens", json={"name": "ci", "role": "run", "tasks": ["a:*"], "expires": 60.0}
        ).json()
        assert it.get("/whoami", made["token"]).json()["role"] == "run"
        listed = it.get("/api/tokens").json()["tokens"]
        assert listed == shown(it, "token", "list")
        assert made["token"] not in it.get("/api/tokens").text
        assert it.post("/api/tokens", json={"name": "ci"}).status_code == 400
        assert it.request("DELETE", "/api/tokens/ci").status_code == 204
        assert it.request("DELETE", "/api/tokens/ci").status_code == 404
        assert it.get("/whoami", made["token"]).status_code == 401
        whole = it.get("/api/audit?limit=1000").json()["entries"]
        assert whole == shown(it, "audit")[: len(whole)]
        first = it.get("/api/audit?limit=2").json()
        second = it.get(f"/api/audit?limit=2&after={first['next']}").json()
        assert first["entries"] + second["entries"] == whole[:4]
        assert it.get("/api/audit?after=xyz").status_code == 400


def test_whether_it_is_well(home: Path):
    with web(home) as it:
        assert it.get("/healthz", None).json() == {"status": "ok"}
        assert it.get("/readyz", None).json() == {"status": "ready"}
        assert {it.request("HEAD", path, None).status_code for path in ("/healthz", "/readyz")} == {200}
        pid = it.rt.supervisor_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            assert it.get("/healthz", None).status_code == 200
            assert it.get("/readyz", None).status_code == 503
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: it.get("/readyz", None).status_code == 200)

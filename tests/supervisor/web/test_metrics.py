"""The metrics: what is served is what docs/metrics.md says, and counters never go back."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families

import tree_tasks
from checkout import ROOT
from understudy import Supervisor, Task, child
from understudy.actors.state import State
from understudy.storage.tables.step_rows import Step
from understudy.supervisor.web.metrics import (
    METRICS,
    MOST_NAMES,
    OTHER,
    _alive,
    _merged,
    _summed,
    shown_names,
)
from waiting import until
from web_client import Web, web

PAGE = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
BOARD = ROOT / "docs/grafana.json"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(it: Web) -> dict[str, Any]:
    answer = it.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def counters(it: Web) -> Samples:
    """All samples that must not go back, without those of the web process itself."""
    found: Samples = {}
    for family in families(it).values():
        if family.type in ("counter", "histogram") and not family.name.startswith("understudy_http"):
            for sample in family.samples:
                found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(it: Web, name: str, **labels: str) -> float | None:
    family = families(it)[re.sub("_(total|count)$", "", name)]
    return next((each.value for each in family.samples if each.name == name and each.labels == labels), None)


def went_back(before: Samples, after: Samples) -> list[object]:
    return [key for key, number in before.items() if after.get(key, -1) < number]


def test_what_is_served(home: Path):
    with web(home, "api_app") as it:
        for _ in range(3):
            it.rt.run("call_tasks:add", 1, timeout=20)
        it.rt.wait(it.rt.start("call_tasks:refuse"), timeout=20)
        waiting = it.rt.start(Task.named("call_tasks:nap").options(delay=600), 1.0)
        it.rt.emit("order.closed", {"order": 1})
        it.rt.run_schedule("shop_schedules:sweep")
        it.rt.supervise(Supervisor("shop", children=[child("till", tree_tasks.service, "till")]))
        till = until(lambda: it.rt.tree_of("shop").child("till").task_id, 20)
        it.rt.send(till, "raise")
        until(lambda: it.rt.tree_of("shop").child("till").restarts, 20)

        until(
            lambda: value(it, "understudy_tasks_ended_total", task="call_tasks:add", state="completed") == 3
        )
        assert value(it, "understudy_tasks_started_total", task="call_tasks:add") == 3
        assert value(it, "understudy_attempt_run_seconds_count", task="call_tasks:add") == 3
        assert value(it, "understudy_tasks_ended_total", task="call_tasks:refuse", state="failed") == 1
        assert value(it, "understudy_tasks_live", task="call_tasks:nap", state="queued") == 1
        assert value(it, "understudy_tasks_started_total", task="call_tasks:nap") == 1
        assert (value(it, "understudy_events_total") or 0) >= 1
        assert value(it, "understudy_schedules", state="active") == 2
        assert value(it, "understudy_tree_restarts_total", tree="shop") == 1
        assert value(it, "understudy_oldest_ready_seconds", task="call_tasks:nap") == 0, "it is delayed"
        assert value(it, "understudy_up") == 1
        assert (value(it, "understudy_workers") or 0) >= 1
        assert (value(it, "understudy_pool_processes", pool="-") or 0) >= 1
        assert (value(it, "understudy_pool_slots", pool="-") or 0) >= 8
        assert value(it, "understudy_pool_queued", pool="-") == 0
        assert (value(it, "understudy_commits_total") or 0) > 1
        assert (value(it, "understudy_http_requests_total", method="GET", status="200") or 0) > 3
        assert waiting.id not in it.get("/metrics").text
        assert not UUID.search(it.get("/metrics").text), "no ids"
        served = families(it)
        assert {name: family.type for name, family in served.items()} == {
            name: kind.type for name, kind in METRICS.items()
        }
        for name, family in served.items():
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(METRICS[name].labels), sample
        assert it.get("/metrics", it.rt.add_token("some", tasks=["x:*"])).status_code == 403


def test_counters_never_go_back(home: Path):
    with web(home, "call_tasks") as it:
        for number in range(5):
            it.rt.run("call_tasks:add", number, timeout=20)
        it.rt.wait(it.rt.start("call_tasks:refuse"), timeout=20)
        it.rt.emit("made", {})
        until(
            lambda: value(it, "understudy_tasks_ended_total", task="call_tasks:add", state="completed") == 5
        )
        first = counters(it)
        os.kill(it.pid, signal.SIGKILL)
        second = counters(it)
        assert went_back(first, second) == []
        it.rt.prune(all=True)
        until(lambda: not it.rt.list(limit=10))
        third = counters(it)
        assert went_back(second, third) == []
        assert value(it, "understudy_tasks_started_total", task="call_tasks:add") == 5
        os.kill(it.rt.supervisor_pid, signal.SIGKILL)
        it.rt.run("call_tasks:add", 1, timeout=20)
        until(
            lambda: value(it, "understudy_tasks_ended_total", task="call_tasks:add", state="completed") == 6
        )
        assert went_back(third, counters(it)) == []


def test_without_a_supervisor_its_own_numbers_are_left_out(home: Path):
    with web(home, "call_tasks") as it:
        it.rt.run("call_tasks:add", 1, timeout=20)
        pid = it.rt.supervisor_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            served = families(it)
            assert served["understudy_up"].samples[0].value == 0
            assert "understudy_workers" not in served
            assert "understudy_pool_used" not in served
            assert "understudy_tasks_ended" in served
        finally:
            os.kill(pid, signal.SIGCONT)


def test_more_names_than_are_told_apart_are_added_up():
    names = [f"app:task{number:04}" for number in range(MOST_NAMES + 50)]
    shown = shown_names(names)
    assert len(shown) == MOST_NAMES
    steps = {name: Step(name, [1, 0, 0, 0, 2]) for name in names}
    merged = _merged(steps, shown)
    assert len(merged) == MOST_NAMES + 1
    assert merged[OTHER].ended == [50, 0, 0, 0, 100]
    assert steps[names[-1]].ended == [1, 0, 0, 0, 2], "the sums that are kept are not changed"
    assert _alive({names[-1]: {State.QUEUED: 3, State.FAILED: 1}}, shown) == {OTHER: {"queued": 3}}
    assert _summed(dict.fromkeys(names, 1))[(OTHER,)] == 50
    # One more name, wherever it stands in the alphabet, makes no number smaller.
    again = _merged({**steps, "a:first": Step("a:first", [1, 0, 0, 0, 0])}, shown_names([*names, "a:first"]))
    assert again[OTHER].ended[0] == 51


def test_the_page_has_every_metric():
    rows = re.findall(r"^\| `(understudy_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert {name: (kind, labels, says) for name, kind, labels, says in rows} == {
        name: (kind.type, ", ".join(f"`{label}`" for label in kind.labels) or "–", kind.says)
        for name, kind in METRICS.items()
    }


def test_every_query_of_the_dashboard_names_metrics_that_exist():
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) >= 10
    names = {name + suffix for name, kind in METRICS.items() for suffix in SUFFIXES[kind.type]}
    for query in queries:
        used = set(re.findall(r"understudy_\w+", query))
        assert used, query
        assert used <= names, query

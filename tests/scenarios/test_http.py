"""Hooks under kills and drains: what got its 202 has one run for each delivery id, and that run ends."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from theatre import PATIENCE, kill, ready
from theatre import runtime as stage_runtime
from understudy import Runtime, State
from understudy.storage.reader import Reader
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until
from web_client import PLAIN

SECRET = "tiger"
BODY = b'{"fails": false}'


@contextmanager
def served(home: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    patch.setenv("UNDERSTUDY_TEST_NOTES", str(tmp_path))
    patch.setenv("GITHUB_SECRET", SECRET)
    with stage_runtime(home, app="http_tasks", restarts=1000, web="127.0.0.1:0") as rt:
        ready(rt, 1)
        yield rt


def send(url: str, delivery: str) -> str | None:
    """Send a hook once; the id of its run if it got its 202."""
    headers = {
        "X-Hub-Signature-256": "sha256=" + hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest(),
        "X-GitHub-Delivery": delivery,
    }
    try:
        answer = httpx.post(
            f"{url}/hooks/github", content=BODY, headers=headers, timeout=PATIENCE, verify=PLAIN
        )
    except httpx.HTTPError:
        return None
    assert answer.status_code in (202, 503), answer.text
    return str(answer.json()["run"]) if answer.status_code == 202 else None


def until_taken(url: str, delivery: str) -> str:
    """Send a hook again and again, as a provider does."""
    return until(lambda: send(url, delivery), 2 * PATIENCE)


def assert_once(home: Path, rt: Runtime, taken: dict[str, str], tmp_path: Path) -> None:
    """Each delivery that got its 202 has one run, which has completed. So has each other delivery that was stored."""
    for delivery, run in taken.items():
        assert rt.result(run, timeout=PATIENCE) == delivery
    with Reader(home) as reader:
        runs = [record for record in reader.records(limit=None) if record.kind == "http"]
    counts = Counter((record.trigger or {})["delivery"] for record in runs)
    assert set(counts.values()) <= {1}, counts
    assert taken.keys() <= counts.keys()
    notes = (tmp_path / "pushed").read_text(encoding="utf-8").split()
    assert taken.keys() <= set(notes)


@pytest.mark.parametrize("moment", ["commit.before:2", "acknowledge.before:2"])
def test_a_hook_is_taken_once_though_the_supervisor_dies_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
):
    died = tmp_path / "died"
    monkeypatch.setenv(VARIABLE, f"{moment}@{died}")
    with served(home, tmp_path, monkeypatch) as rt:
        url = rt.web_url
        assert url is not None
        taken = {delivery: until_taken(url, delivery) for delivery in ("a", "b", "a", "c")}
        assert died.exists()
        assert_once(home, rt, taken, tmp_path)


@pytest.mark.parametrize("victim", ["web process", "supervisor"])
def test_hooks_are_taken_once_though_everybody_is_killed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str
):
    with served(home, tmp_path, monkeypatch) as rt:
        url = rt.web_url
        assert url is not None
        pids: dict[str, Callable[[], int]] = {
            "web process": lambda: int(rt.tree()["web"] or 0),
            "supervisor": lambda: rt.supervisor_pid,
        }
        taken: dict[str, str] = {}
        over = threading.Event()
        numbers = itertools.count()

        def provider() -> None:
            while not over.is_set():
                delivery = f"d-{next(numbers)}"
                run = until_taken(url, delivery)
                # Twice, as providers do whose connection broke behind the 202.
                assert until_taken(url, delivery) == run
                taken[delivery] = run

        threads = [threading.Thread(target=provider) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                before = len(taken)
                until(lambda before=before: len(taken) >= before + 5, 3 * PATIENCE)
                kill(until(pids[victim], PATIENCE))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert_once(home, rt, taken, tmp_path)


def test_a_hook_that_comes_during_a_drain_is_taken_or_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with served(home, tmp_path, monkeypatch) as rt:
        url = rt.web_url
        assert url is not None
        blocker = rt.start("http_tasks:occupies", 600)
        until(lambda: blocker.status().state is State.RUNNING, PATIENCE)
        taken: dict[str, str] = {}
        first = rt.supervisor_pid
        os.kill(first, signal.SIGTERM)
        began = time.monotonic()
        for number in itertools.count():
            run = send(url, f"drain-{number}")
            if run is not None:
                taken[f"drain-{number}"] = run
            if rt._client.connection is not None and rt.supervisor_pid != first:
                break
            assert time.monotonic() - began < 2 * PATIENCE
        taken["after"] = until_taken(url, "after")
        assert_once(home, rt, taken, tmp_path)
        blocker.cancel()


def test_a_deploy_that_changes_a_trigger_is_noticed_before_anything_is_stored(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    app = tmp_path / "deployed.py"
    source = (
        'from understudy import http\n@http("POST", "/x", {how})\ndef x(request) -> str: return "{value}"\n'
    )
    app.write_text(source.format(how="auth='none'", value="old"))
    with stage_runtime(home, app=str(app), restarts=1000, web="127.0.0.1:0") as rt:
        ready(rt, 1)
        url = rt.web_url
        assert url is not None
        assert httpx.post(f"{url}/x", timeout=PATIENCE, verify=PLAIN).json() == "old"
        app.write_text(source.format(how="auth='token'", value="new"))
        kill(rt.supervisor_pid)

        def status() -> int:
            try:
                answered = httpx.post(f"{url}/x", timeout=PATIENCE, verify=PLAIN).status_code
            except httpx.HTTPError:
                return 0
            return 0 if answered == 503 else answered

        assert until(status, 2 * PATIENCE) == 401
        headers = {"Authorization": f"Bearer {rt.add_token('t', role='run')}"}
        assert httpx.post(f"{url}/x", headers=headers, timeout=PATIENCE, verify=PLAIN).json() == "new"

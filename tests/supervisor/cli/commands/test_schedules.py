from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

import pytest

from understudy import Runtime
from understudy.supervisor.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from conftest import Stage


@pytest.fixture
def key(served: Stage) -> str:
    """A schedule that a program has made, which is due tomorrow."""
    key = f"nightly/{uuid.uuid4().hex}"
    with Runtime.connect(served.home) as rt:
        rt.schedule("app:add", 1, key=key, every=86_400, limit=9)
    return key


def test_list_and_show(served: Stage, key: str):
    (found,) = [each for each in served("schedules", "list", "-n", "0", "--json").json if each["key"] == key]
    assert (found["state"], found["task"], found["runs"]) == ("active", "app:add", 0)
    assert found["definition"]["every"] == 86_400
    assert key in served("schedules", "list", "-q").out.splitlines()
    assert "every 1d" in served("schedules", "list", COLUMNS="200").out
    assert served("schedules", "list", "-q", "--json").code == ExitCode.USAGE
    assert "no such schedules" in served("schedules", "list", "--state", "orphaned").err
    assert "and more" in served("schedules", "list", "-n", "1", "--after", "n").err or key
    shown = served("schedules", "show", key)
    assert "limit=9" in shown.out
    assert "every 86400 s" in shown.out
    assert served("schedules", "show", "nobody").code == ExitCode.NOT_FOUND


def test_next(served: Stage, key: str):
    times = served("schedules", "next", key, "-n", "2", "--json").json
    assert len(times) == 2
    assert len(served("schedules", "next", key, "-n", "3").out.splitlines()) == 3


def test_pause_resume_run_backfill_and_cancel(served: Stage, key: str):
    assert served("schedules", "pause", key).out == "paused\n"
    assert "paused by request" in served("schedules", "show", key).out
    assert served("schedules", "resume", key, "--json").json["state"] == "active"
    run = served("schedules", "run", key).out.strip()
    served.until_state(run, "completed")
    history = served("schedules", "show", key, "--json").json["history"]
    assert [(each["run_id"], each["by"]) for each in history] == [(run, "run")]
    assert f"{run} (by run)" in served("schedules", "show", key, COLUMNS="150").out
    start = str(time.time() - 3600)
    assert served("schedules", "backfill", key, start, "--json").json == []
    assert "no occurrence" in served("schedules", "backfill", key, start).err
    assert served("schedules", "cancel", key, "--json").json["state"] == "ended"
    assert "has ended" in served("schedules", "next", key).err
    assert served("schedules", "pause", key).code != ExitCode.OK

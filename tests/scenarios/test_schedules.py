"""Schedules under kills, stops and deploys, and on a full disk: no occurrence is lost, and none is doubled."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from disks import fill_up, mounted
from theatre import PATIENCE
from theatre import runtime as stage_runtime
from understudy import Runtime, State, StoreFull
from understudy.storage.check import check
from understudy.storage.reader import Reader
from understudy.supervisor.rules.due import CHANGED, SUPERSEDED
from understudy.supervisor.testing.crash_points import VARIABLE
from waiting import until

APP = """
from understudy import Event, current, emit, every, on, task

@task(name="tick")
def tick():
    return current().trigger.scheduled_at

@on("order.paid", name="bill")
def bill(event: Event):
    return event.data

{schedules}
"""
SCHEDULE = """
@every({seconds}, key="{key}", overlap="allow", missed="all")
@task(name="{key}")
def {key}():
    emit("done.{key}", current().trigger.scheduled_at)
    return current().trigger.scheduled_at
"""


def deploy(folder: Path, home: Path, **schedules: float) -> Runtime:
    """A runtime with an app of these schedules, by key: the seconds of their intervals."""
    app = folder / "planned.py"
    text = "".join(SCHEDULE.format(key=key, seconds=seconds) for key, seconds in schedules.items())
    app.write_text(APP.format(schedules=text), encoding="utf-8")
    # A file of the same size and second would be taken from the bytecode of the last one.
    for compiled in folder.glob("__pycache__/*"):
        compiled.unlink()
    return stage_runtime(home, app=str(app), restarts=1000)


def dealt_with(rt: Runtime, key: str, count: int) -> None:
    """Wait until so many occurrences have been dealt with."""
    until(lambda: len(rt.schedule_history(key)) >= count, PATIENCE)


def assert_whole(home: Path, key: str, every: float) -> list[str | None]:
    """Each occurrence since the first is one run or one skip, and each run is one of them. Why they were skipped."""
    assert check(home).problems == []
    with Reader(home) as reader:
        entries = [entry for _, entry in reversed(reader.schedule_history(key, None))]
        first = entries[0].scheduled_at
        places = [round((entry.scheduled_at - first) / every, 3) for entry in entries]
        assert places == list(range(len(entries)))
        runs = {entry.run: entry for entry in entries if entry.run is not None}
        records = [record for record in reader.records(limit=None) if record.kind == "schedule"]
        mine = {record.id: record for record in records if (record.trigger or {}).get("schedule") == key}
        assert mine.keys() == runs.keys()
        for id, record in mine.items():
            assert record.trigger == {"schedule": key, "scheduled_at": runs[id].scheduled_at}
        return [entry.reason for entry in entries]


def test_each_occurrence_is_told_once_though_the_supervisor_dies_of_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    moments = ("schedule.after:1", "commit.before:3")
    died = {moment: tmp_path / moment for moment in moments}
    monkeypatch.setenv(VARIABLE, ",".join(f"{moment}@{file}" for moment, file in died.items()))
    with deploy(tmp_path, home) as rt:
        made = rt.schedule("tick", every=1, missed="all", overlap="allow", key="k", limit=4)
        until(lambda: rt.schedule_info(made).state == "ended", PATIENCE)
        for each in rt.schedule_history(made):
            assert rt.result(each.run_id or "", PATIENCE) == each.scheduled_at
    assert assert_whole(home, "k", 1.0) == [None] * 4
    assert all(file.exists() for file in died.values())


def test_a_supervisor_that_is_stopped_over_occurrences_makes_up_for_the_last(home: Path, tmp_path: Path):
    with deploy(tmp_path, home) as rt:
        made = rt.schedule("tick", every=1, overlap="allow", key="k")
        dealt_with(rt, "k", 1)
        os.kill(pid := rt.supervisor_pid, signal.SIGSTOP)
        last = rt.schedule_history(made)[0].scheduled_at
        # It has slept for as long as the machine's clock says.
        until(lambda: time.time() > last + 3.2, PATIENCE)
        os.kill(pid, signal.SIGCONT)
        dealt_with(rt, "k", 5)
    reasons = assert_whole(home, "k", 1.0)
    assert SUPERSEDED in reasons
    assert set(reasons) == {None, SUPERSEDED}


def test_deploys_add_change_and_remove_schedules_while_events_flow(home: Path, tmp_path: Path):
    def flows(rt: Runtime, start: int) -> None:
        for number in range(start, start + 20):
            assert rt.result(rt.emit("order.paid", number).runs[0], PATIENCE) == number

    with deploy(tmp_path, home, stays=1.0, changes=1.0, goes=1.0) as rt:
        flows(rt, 0)
        for key in ("stays", "changes", "goes"):
            dealt_with(rt, key, 2)
        due = rt.schedule_info("stays").next
    with deploy(tmp_path, home, stays=1.0, changes=3600.0, comes=1.0) as rt:
        flows(rt, 20)
        dealt_with(rt, "comes", 1)
        assert {each.key: each.state for each in rt.schedules()} == {
            "stays": "active", "changes": "active", "goes": "orphaned", "comes": "active",
        }  # fmt: skip
        # An edit starts nothing: all that was due before is told as skipped.
        changed = rt.schedule_info("changes")
        assert changed.next is not None
        assert changed.next > rt.schedule_info("comes").created + 3599
        after = rt.schedule_history("changes")
        assert {each.skipped for each in after if each.time >= changed.next - 3600} <= {CHANGED}
        until(lambda: (rt.schedule_info("stays").next or 0) > (due or 0) + 1, PATIENCE)
        rt.pause_schedule("stays")
    with deploy(tmp_path, home, stays=1.0, changes=3600.0, goes=1.0) as rt:
        flows(rt, 40)
        states = {each.key: each.state for each in rt.schedules()}
        assert states == {"stays": "paused", "changes": "active", "goes": "active", "comes": "orphaned"}
        runs = len(rt.schedule_history("goes"))
        dealt_with(rt, "goes", runs + 1)
        assert rt.cancel_schedule("comes")
    for key in ("stays", "goes", "comes"):
        assert_whole(home, key, 1.0)


def test_a_full_disk_refuses_schedules_and_occurrences_wait(tmp_path: Path):
    with mounted(tmp_path / "disk") as folder:
        home, ballast = folder / "home", folder / "ballast"
        with stage_runtime(home, app=str(_app(tmp_path)), restarts=1000, map_size=1 << 20) as rt:
            rt.schedule("tick", every=1, overlap="allow", key="k")
            dealt_with(rt, "k", 1)
            fill_up(ballast)
            until(lambda: rt.tree()["disk_full"], PATIENCE)
            with pytest.raises(StoreFull):
                rt.schedule("tick", every=1)
            with pytest.raises(StoreFull):
                rt.run_schedule("k")
            before = rt.schedule_info("k").next or 0.0
            until(lambda: time.time() > before + 1.2, PATIENCE)
            ballast.unlink()
            until(lambda: (rt.schedule_info("k").next or 0.0) > before + 1.2, PATIENCE)
            run = rt.schedule_history("k")[0].run_id
            assert run is not None
            assert rt.wait(run, PATIENCE).state is State.COMPLETED
        reasons = assert_whole(home, "k", 1.0)
        assert set(reasons) <= {None, SUPERSEDED}


def _app(folder: Path) -> Path:
    app = folder / "planned.py"
    app.write_text(APP.format(schedules=""), encoding="utf-8")
    return app

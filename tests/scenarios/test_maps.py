"""`map_tasks` with real processes: parents, their workers and the supervisor are killed, and no child runs twice."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import map_stage as app
from theatre import PATIENCE
from understudy import Runtime
from understudy.storage.check import check
from understudy.testing import kill_supervisor, kill_worker
from waiting import until

#: Children of a parent that is killed; 10,000 by hand.
CHILDREN = int(os.environ.get("UNDERSTUDY_CHILDREN", "400"))
LONG = 60 + CHILDREN / 50


@pytest.fixture
def rt(home: Path) -> Iterator[Runtime]:
    settings = {"workers": 2, "restarts": 1_000, "max_crashes": 1_000, "durability": "os"}
    with Runtime(home, app=app.__file__, **settings) as runtime:
        yield runtime


@pytest.mark.timeout(90 + CHILDREN / 20)
@pytest.mark.parametrize("task", [app.sum_up, app.sum_up_async], ids=["sync", "async"])
def test_a_parent_that_is_killed_amid_a_map_has_each_child_once(home: Path, rt: Runtime, task: Any):
    chance = random.Random(7)
    parent = rt.start(task.options(isolate=True), CHILDREN, 0.01, 50).id
    killed = 0
    for number in range(3):
        done = (number + chance.random()) * CHILDREN / 4
        until(lambda done=done: sum(rt.counts().get("maps:triple", {}).values()) > done, LONG)
        until(lambda: rt.status(parent).state == "running" or rt.status(parent).ended_already, LONG)
        with suppress(LookupError):  # it has ended meanwhile
            kill_supervisor(rt) if number == 1 else kill_worker(parent)
            killed += 1
    assert killed == 3
    assert rt.result(parent, LONG) == 3 * sum(range(CHILDREN))
    children = rt.list(task="maps:triple", limit=2 * CHILDREN)
    assert len(children) == CHILDREN, "each child is one task"
    assert {child.state for child in children} == {"completed"}
    assert all(child.attempt - 1 <= killed for child in children)
    assert check(home).problems == []


def test_those_under_way_end_with_a_parent_although_the_supervisor_dies(home: Path, rt: Runtime):
    parent = rt.start(app.rests, 40, 20)
    until(lambda: len(rt.list(task="maps:rest", state="running")) >= 5, PATIENCE)
    kill_supervisor(rt)
    until(lambda: rt.status(parent).state == "running", PATIENCE)
    until(lambda: len(rt.list(task="maps:rest", state="running")) >= 5, PATIENCE)
    rt.cancel(parent)
    assert rt.wait(parent, PATIENCE).state == "cancelled"
    kill_supervisor(rt)
    children = rt.list(task="maps:rest")
    assert len(children) == 20
    assert {rt.wait(child.id, PATIENCE).state for child in children} == {"cancelled"}
    until(lambda: not check(home).problems, PATIENCE)


def test_children_whose_time_to_keep_is_over_stay_for_the_next_attempt(home: Path, rt: Runtime):
    parent = rt.start(app.keeps_none, 300)
    until(lambda: len(rt.list(task="maps:gone", state="completed", limit=400)) == 300, PATIENCE)
    rt.prune(all=True)
    kill_supervisor(rt)
    until(lambda: rt.status(parent).state == "running", PATIENCE)
    rt.prune(all=True)
    rt.send(parent, "end")
    assert rt.result(parent, PATIENCE) == [3 * n for n in range(300)]
    assert sum(rt.counts()["maps:gone"].values()) == 300, "none was started again"
    until(lambda: rt.prune() and not rt.list(task="maps:gone"), PATIENCE)
    assert check(home).problems == []


def test_parents_that_map_leave_the_slots_to_their_children(home: Path):
    with Runtime(home, app=app.__file__, workers=1, slots=1) as rt:
        parents = [rt.start(app.sum_up, 30, 0.0, 5) for _ in range(10)]
        assert rt.gather(parents, PATIENCE) == [3 * sum(range(30))] * 10
        assert rt.result(rt.start(app.nested, 3, 3), PATIENCE) == 27


def test_large_values_wait_on_disk(home: Path, rt: Runtime):
    assert rt.result(rt.start(app.large_values, 60, 50), PATIENCE) == 60 * app.LARGE

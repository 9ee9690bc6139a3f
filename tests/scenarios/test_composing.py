"""Tasks that start others, with real processes: parents are killed, and so is the supervisor."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tie_tasks as app
from engines import IMAGE, engine
from peers import idle, peer
from theatre import PATIENCE
from understudy import Runtime, SupervisorLost
from understudy.storage.check import check
from understudy.supervisor.boxes import spec
from understudy.testing import kill_supervisor, kill_worker
from waiting import until

#: Children of a parent that is killed while it gathers; 10,000 by hand.
CHILDREN = int(os.environ.get("UNDERSTUDY_CHILDREN", "400"))
LONG = 60 + CHILDREN / 50


@pytest.fixture
def rt(home: Path) -> Iterator[Runtime]:
    settings = {"workers": 2, "restarts": 1_000, "max_crashes": 1_000, "durability": "os"}
    with Runtime(home, app=app.__file__, **settings) as runtime:
        yield runtime


def tell(rt: Runtime, id: str, message: Any) -> None:
    """Send a message, a second time if nobody knows whether it has arrived."""
    try:
        rt.send(id, message)
    except SupervisorLost:
        rt.send(id, message)


def linked(rt: Runtime, parent: str) -> list[str]:
    """The children of a parent, once they run."""
    ids: list[str] = until(lambda: rt.restore(parent), PATIENCE)
    until(lambda: all(rt.status(id).state == "running" for id in ids), PATIENCE)
    return ids


# --- links ---


def test_children_live_over_deaths_of_their_parent_and_end_with_it(home: Path, rt: Runtime):
    # While it works, it is blamed for the death of its worker, and needs a retry.
    alone = app.parent.options(isolate=True, retry=2)
    parent = rt.start(alone, 3).id
    children = linked(rt, parent)
    kill_worker(parent)
    until(lambda: rt.status(parent).state == "running", PATIENCE)
    kill_supervisor(rt)
    until(lambda: all(rt.status(id).state == "running" for id in [parent, *children]), PATIENCE)
    assert [rt.status(id).state for id in children] == ["running"] * 3
    tell(rt, parent, "return")
    assert rt.result(parent, PATIENCE) == "returned"
    assert {rt.wait(id, PATIENCE).state for id in children} == {"cancelled"}
    assert check(home).problems == []


def test_children_of_a_poisoned_parent_end(home: Path):
    with Runtime(home, app=app.__file__, workers=2, restarts=1_000, max_crashes=1) as rt:
        parent = rt.start(app.parent.options(isolate=True), 2).id
        children = linked(rt, parent)
        rt.send(parent, "kill")
        assert rt.wait(parent, PATIENCE).error.type in ("Poisoned", "WorkerDied")
        assert {rt.wait(id, PATIENCE).state for id in children} == {"cancelled"}


def test_a_child_that_takes_no_notice_is_killed(rt: Runtime):
    parent = rt.start(app.starts_stubborn)
    child = rt.result(parent, PATIENCE)
    assert rt.wait(child, PATIENCE).state == "cancelled"


def test_connections_of_children_are_closed_with_their_parent(rt: Runtime):
    with peer(idle) as server:
        parent = rt.start(app.holds_connections, server.url)
        server.connected(2)
        rt.send(parent, "end")
        assert rt.wait(parent, PATIENCE).state == "completed"
        assert len(server.ended(2)) == 2
        names = {"ws_tasks:forever", "ws_tasks:forever_async"}
        until(lambda: {record.task for record in rt.list(state="cancelled")} == names, PATIENCE)


def test_a_container_ends_with_the_task_that_has_started_it(rt: Runtime):
    engine()
    parent = rt.start(app.holds_container, IMAGE)
    child = until(parent.restore, PATIENCE)
    until(lambda: rt.status(child).state == "running" and rt.status(child).checkpoint_time, PATIENCE)
    kill_supervisor(rt)
    until(lambda: {rt.status(id).state for id in (parent.id, child)} == {"running"}, PATIENCE)
    rt.cancel(parent)
    assert rt.wait(child, PATIENCE).state == "cancelled"
    until(lambda: not engine().find({spec.TASK_LABEL: child}), PATIENCE)


# --- gather ---


@pytest.mark.timeout(90 + CHILDREN / 20)
@pytest.mark.parametrize("task", [app.sum_up, app.sum_up_async], ids=["sync", "async"])
def test_a_parent_that_is_killed_amid_a_gather_has_each_child_once(home: Path, rt: Runtime, task: Any):
    chance = random.Random(7)
    parent = rt.start(task.options(isolate=True), CHILDREN, 0.01).id
    for number in range(3):
        done = chance.randrange(CHILDREN // 4)
        until(lambda done=done: len(rt.list(task="ties:brief", limit=done + 1)) > done, LONG)
        until(lambda: rt.status(parent).state == "running" or rt.status(parent).ended_already, LONG)
        if rt.status(parent).ended_already:
            break
        with suppress(LookupError):  # it has ended meanwhile
            kill_supervisor(rt) if number == 1 else kill_worker(parent)
    assert rt.result(parent, LONG) == 3 * sum(range(CHILDREN))
    assert len(rt.list(task="ties:brief", limit=2 * CHILDREN)) == CHILDREN
    assert check(home).problems == []


def test_parents_that_gather_leave_the_slots_to_their_children(home: Path):
    with Runtime(home, app=app.__file__, workers=1, slots=1) as rt:
        parents = [rt.start(app.sum_up, 5) for _ in range(20)]
        assert rt.gather(parents, PATIENCE) == [30] * 20
        assert rt.result(rt.start(app.in_order_of_ends, [0.4, 0.0]), PATIENCE) == [1, 0]

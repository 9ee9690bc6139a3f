"""Large trees: their children start in runs, and yet each begins when the one before has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tree_tasks as app
from room import Puppet, Room, room
from understudy import Supervisor, SupervisorLost, Tree, child
from understudy.actors.trees.child import ChildSpec
from understudy.storage.tables.schema import Lane
from understudy.supervisor.execution.trees import RUNS
from understudy.supervisor.wire.messages import Report
from understudy.testing import InlineRuntime

#: Children of a tree, and of one of its runs.
MANY = 4 * RUNS
RUN = 4
NAMES = [f"m{number:03}" for number in range(MANY)]


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    app.noted.clear()
    with InlineRuntime(workers=3, pools={"aside": 1}) as runtime:
        yield runtime


def members(**special: ChildSpec) -> list[ChildSpec]:
    """As many children, some of them other ones."""
    return [special.get(name) or child(name, app.member, name) for name in NAMES]


def begun() -> list[str]:
    """The children that have begun since the last look, in their order."""
    names = [each[1:] for each in app.noted if each.startswith("+")]
    app.noted.clear()
    return names


def all_run(tree: Tree) -> bool:
    status = tree.status()
    return status.state == "running" and {each.state for each in status.children} == {"running"}


def test_they_begin_in_order_and_stop_in_reverse(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=members()))
    rt.settle()
    assert begun() == NAMES
    assert all_run(tree)
    tree.stop()
    rt.settle()
    assert [each[1:] for each in app.noted] == NAMES[::-1]
    app.noted.clear()
    tree.restart()
    rt.settle()
    assert begun() == NAMES


def test_a_run_begins_on_one_worker_and_all_of_them_have_some(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=members()))
    rt.settle()
    pids = [each.worker_pid for each in tree.status().children]
    runs = [set(pids[at : at + RUN]) for at in range(0, MANY, RUN)]
    assert all(len(run) == 1 for run in runs)
    assert {pids.count(pid) // RUN for pid in set(pids)} == {RUNS // 3, RUNS // 3 + 1}


def test_one_that_must_be_ready_holds_back_those_behind_it(rt: InlineRuntime):
    slow = child(NAMES[9], app.member, NAMES[9], ready=True, start_timeout=5)
    tree = rt.supervise(Supervisor("shop", intensity=0, children=members(**{NAMES[9]: slow})))
    rt.settle()
    assert begun() == NAMES[:10]
    states = [each.state for each in tree.status().children]
    assert states == ["running"] * 9 + ["starting"] * (MANY - 9)
    rt.clock.advance(5.1)
    assert (tree.status().state, begun()) == ("failed", [])


def test_one_that_says_that_it_is_ready(rt: InlineRuntime):
    quick = child(NAMES[9], app.member, NAMES[9], kwargs={"says_ready": True}, ready=True)
    tree = rt.supervise(Supervisor("shop", children=members(**{NAMES[9]: quick})))
    rt.settle()
    assert begun() == NAMES
    assert all_run(tree)


@pytest.mark.parametrize(
    ("strategy", "again"),
    [("one_for_one", NAMES[9:10]), ("rest_for_one", NAMES[9:]), ("one_for_all", NAMES)],
)
def test_one_that_fails_within_its_run(rt: InlineRuntime, strategy: Any, again: list[str]):
    """It has begun, so those behind it may have, too. What its strategy restarts begins in order once more."""
    fails = child(NAMES[9], app.member, NAMES[9], kwargs={"fails_at": 1})
    tree = rt.supervise(Supervisor("shop", strategy=strategy, children=members(**{NAMES[9]: fails})))
    rt.settle()
    order = begun()
    second = order.index(NAMES[9], order.index(NAMES[9]) + 1)
    assert order[:10] == NAMES[:10]
    if strategy == "one_for_one":
        assert [name for number, name in enumerate(order) if number != second] == NAMES
    else:
        assert order[-len(again) :] == again
        assert order[: -len(again)] == NAMES[: len(order) - len(again)]
    assert all_run(tree)
    assert [each.restarts for each in tree.status().children] == [0] * 9 + [1] + [0] * (MANY - 10)


def test_the_death_of_a_worker_with_many_is_an_interruption(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", strategy="one_for_all", children=members()))
    rt.settle()
    ids = [each.task_id for each in tree.status().children]
    rt.kill_worker(tree.info(NAMES[0]).id)
    rt.settle()
    assert tree.status().restarts == 0
    begun()
    tree.restart()
    rt.settle()
    assert begun() == NAMES
    assert [each.task_id for each in tree.status().children] == ids


def test_a_new_order_counts_also_for_tasks_that_were_there_before(rt: InlineRuntime):
    """The ids of tasks grow with time; their places in the tree do not."""
    tree = rt.supervise(Supervisor("shop", children=members()))
    rt.settle()
    begun()
    rt.supervise(Supervisor("shop", children=members()[::-1]))
    tree.restart()
    rt.settle()
    assert begun() == NAMES[::-1]


def test_other_children_between_them(rt: InlineRuntime):
    """A sync task, one in a pool, a tree, an actor: what no loop begins behind the others waits for them."""
    sync = child(NAMES[5], app.service, NAMES[5])
    aside = child(NAMES[10], app.member.options(pool="aside"), NAMES[10])
    several = members(**{NAMES[5]: sync, NAMES[10]: aside})
    inner = Supervisor("in", children=[child("x", app.member, "x")])
    actor = child("actor", app.Counter, "actor")
    tree = rt.supervise(Supervisor("shop", children=[*several[:20], inner, actor, *several[20:]]))
    rt.settle()
    assert begun() == [*NAMES[:20], "x", "actor", *NAMES[20:]]
    assert tree.status().state == "running"


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, RUNS + 3))
def test_a_crash_in_a_start(side: str, nth: int):
    """Those that had begun go on; each of the others begins when the one before has begun."""
    app.noted.clear()
    with InlineRuntime(workers=2) as rt:
        spec = Supervisor("shop", children=members())
        rt.crash_at(f"commit.{side}", nth)
        with suppress(SupervisorLost):
            rt.supervise(spec)
        tree = rt.supervise(spec)
        rt.settle()
        assert all_run(tree)
        order = begun()
        assert [name for number, name in enumerate(order) if name not in order[:number]] == NAMES
        assert len(rt.list(state=["queued", "running"], limit=2 * MANY)) == MANY


# --- by hand: the test says when a child begins ---


def spec_of(name: str, task: str) -> dict[str, Any]:
    plain = {"task": task, "args": None, "options": None, "restart": "permanent", "shutdown": 5.0}
    return {"id": name, **plain, "ready": False, "start_timeout": 60.0, "fresh": False, "significant": False}


def supervise(it: Room, id: str = "shop", **others: str) -> None:
    """Start a tree of async tasks, some of them `others`."""
    how = {"strategy": "one_for_one", "intensity": 3, "period": 5.0, "auto_shutdown": "never"}
    more = {"backoff": None, "restart": "permanent", "significant": False}
    children = [spec_of(name, others.get(name, "async")) for name in NAMES]
    it.service.trees.supervise({"id": id, **how, **more, "children": children})


def waiting(puppet: Puppet) -> list[str]:
    """The children that a worker was handed and has not begun."""
    puppet.read()
    return [str(each.tree).partition("/")[2] for each in puppet.queues[Lane.ASYNC]]


def begin(puppet: Puppet, count: int, *, told: bool = True) -> list[bytes]:
    ids = [each.id for each in puppet.begin(count, Lane.ASYNC)]
    for id in ids if told else ():
        puppet.report(Report.READY, id, False)
    return ids


def test_a_run_follows_when_all_of_the_one_before_have_begun(home: Path):
    async def story() -> None:
        async with room(home, workers=2) as it:
            supervise(it)
            await it.settle()
            first, second = it.workers if waiting(it.workers[0]) else it.workers[::-1]
            assert (waiting(first), waiting(second)) == (NAMES[:4], [])
            begin(first, 3)
            await it.settle()
            assert (waiting(first), waiting(second)) == (NAMES[3:4], [])
            begin(first, 1)
            await it.settle()
            assert (waiting(first), waiting(second)) == ([], NAMES[4:8])

    asyncio.run(story())


def test_those_behind_one_that_keeps_its_worker_busy_begin_elsewhere_in_order(home: Path):
    async def story() -> None:
        async with room(home, workers=2) as it:
            supervise(it)
            await it.settle()
            busy, other = it.workers if waiting(it.workers[0]) else it.workers[::-1]
            begin(busy, 2, told=False)
            await it.until(lambda: waiting(other))
            assert (waiting(busy), waiting(other)) == ([], NAMES[2:4])

    asyncio.run(story())


def test_those_on_a_dead_worker_begin_elsewhere_in_order(home: Path):
    async def story() -> None:
        async with room(home, workers=2) as it:
            supervise(it)
            await it.settle()
            dead, other = it.workers if waiting(it.workers[0]) else it.workers[::-1]
            begin(dead, 1, told=False)
            it.die(dead)
            await it.settle()
            assert waiting(other) == NAMES[:4], "it is restarted, and those behind it have not begun"

    asyncio.run(story())


def test_one_that_is_cancelled_before_it_begins_is_started_anew_before_those_behind_it(home: Path):
    async def story() -> None:
        async with room(home, workers=1) as it:
            supervise(it)
            await it.settle()
            (worker,) = it.workers
            begin(worker, 1, told=False)
            worker.read()
            cancelled = worker.queues[Lane.ASYNC][0].id
            it.attempts.cancel(cancelled)
            await it.settle()
            assert waiting(worker) == []
            worker.report(Report.READY, worker.orders[0][2][0][0], False)
            await it.settle()
            assert waiting(worker) == NAMES[1:4]
            assert worker.queues[Lane.ASYNC][0].id != cancelled

    asyncio.run(story())


def test_trees_do_not_wait_for_each_other(home: Path):
    async def story() -> None:
        async with room(home, workers=2) as it:
            for id in ("one", "two"):
                supervise(it, id)
            await it.settle()
            handed = sorted(name for worker in it.workers for name in waiting(worker))
            assert handed == sorted(NAMES[:4] * 2)
            for worker in it.workers:
                begin(worker, 100)
            await it.settle()
            assert sorted(name for worker in it.workers for name in waiting(worker)) == sorted(NAMES[4:8] * 2)

    asyncio.run(story())


def test_room_for_some_of_a_run(home: Path):
    async def story() -> None:
        async with room(home, workers=2, async_slots=2) as it:
            supervise(it)
            await it.settle()
            first, second = it.workers if waiting(it.workers[0]) else it.workers[::-1]
            assert (waiting(first), waiting(second)) == (NAMES[:2], [])
            (one, _) = begin(first, 2)
            await it.settle()
            assert (waiting(first), waiting(second)) == ([], NAMES[2:4])
            begin(second, 2)
            first.done(one)
            await it.settle()
            assert (waiting(first), waiting(second)) == (NAMES[4:5], [])

    asyncio.run(story())


def test_after_the_death_of_the_supervisor_a_run_begins_in_order(home: Path):
    async def story(*, again: bool) -> None:
        async with room(home, workers=2) as it:
            it.core.recover()
            if not again:
                supervise(it)
            await it.settle()
            first, second = it.workers if waiting(it.workers[0]) else it.workers[::-1]
            assert (waiting(first), waiting(second)) == (NAMES[:RUN], [])

    for again in (False, True):
        asyncio.run(story(again=again))


def test_a_child_that_is_replaced_by_one_in_another_lane_waits_for_those_before_it(home: Path):
    """Its old task is held, as a restart of all is under way."""

    async def story() -> None:
        async with room(home, workers=1, async_slots=MANY) as it:
            supervise(it)
            (worker,) = it.workers
            ids: list[bytes] = []
            while len(ids) < MANY:
                await it.settle()
                ids += begin(worker, RUN)
            it.service.trees.act("shop", "restart")
            for id in reversed(ids):
                await it.settle()
                worker.done(id)
            await it.settle()
            assert waiting(worker) == NAMES[:RUN]
            supervise(it, **{NAMES[5]: "quick"})
            begin(worker, RUN)
            await it.settle()
            assert (waiting(worker), worker.queues[Lane.SYNC]) == (NAMES[4:5], [])
            begin(worker, 1)
            await it.settle()
            worker.read()
            assert {each.tree for each in worker.queues[Lane.SYNC]} == {f"shop/{NAMES[5]}"}

    asyncio.run(story())

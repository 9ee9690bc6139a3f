"""Supervision trees with real processes: children die in every way, and so does the supervisor in the middle."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tree_tasks as app
from theatre import PATIENCE
from understudy import AsyncRuntime, Runtime, Supervisor, SupervisorLost, Tree, child
from understudy.actors.trees.child import ChildSpec
from understudy.storage.check import check
from understudy.testing import kill_supervisor, kill_worker
from waiting import until

#: Restarts that no test reaches.
MANY = 1_000_000
#: How often the supervisor is killed in restarts; `make trees` sets more.
ROUNDS = int(os.environ.get("UNDERSTUDY_TREE_ROUNDS", "4"))


@pytest.fixture
def rt(home: Path) -> Iterator[Runtime]:
    with Runtime(home, app="tree_tasks", workers=2, restarts=1_000, drain=1.0) as runtime:
        yield runtime


def serving(id: str, file: Path, **options: Any) -> ChildSpec:
    kwargs = {"says_ready": True}
    return child(id, app.service.options(**options), id, str(file), kwargs=kwargs, ready=True)


def running(tree: Tree) -> Any:
    status = tree.status()
    whole = status.state == "running" and all(each.state == "running" for each in status.children)
    return whole and status


def all_run(tree: Tree, restarts: int = 0) -> Any:
    """The state of the tree once all children run and so many restarts have been made."""
    return until(
        lambda: (found := running(tree)) and found.restarts >= restarts and found,
        PATIENCE,
        lambda: str(tree.status()),
    )


def events(file: Path) -> list[str]:
    return [line.split()[1] for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", ["+b"]),
        ("rest_for_one", ["-d", "-c", "+b", "+c", "+d"]),
        ("one_for_all", ["-d", "-c", "-a", "+a", "+b", "+c", "+d"]),
    ],
)
def test_each_exit_under_each_strategy(rt: Runtime, tmp_path: Path, strategy: Any, expected: list[str]):
    """b has a worker of its own: so its death is its own exit, and nobody else's."""
    file = tmp_path / "events"
    specs = [serving(id, file, isolate=id == "b") for id in "abcd"]
    tree = rt.supervise(Supervisor("shop", strategy=strategy, intensity=MANY, children=specs))
    all_run(tree)
    assert events(file) == ["+a", "+b", "+c", "+d"]
    task = tree.info("b").id
    reasons = []
    for count, how in enumerate(("raise", "exit", "kill"), 1):
        seen = len(events(file))
        rt.send(task, how)
        all_run(tree, count)
        assert events(file)[seen:] == expected, how
        assert tree.info("b").id == task
        exit = tree.child("b").last_exit
        assert exit is not None
        reasons.append((exit.kind, exit.reason.partition(":")[0]))
    assert reasons == [("abnormal", "ValueError"), ("abnormal", "WorkerDied"), ("abnormal", "WorkerDied")]
    seen = len(events(file))
    rt.cancel(task)
    all_run(tree, 4)
    assert events(file)[seen:] == ["-b", *expected]
    assert rt.status(task).state == "cancelled"
    assert tree.info("b").id != task
    tree.stop()
    assert tree.wait(timeout=PATIENCE).state == "stopped"
    assert events(file)[-4:] == ["-d", "-c", "-b", "-a"]


def test_the_death_of_a_neighbour_restarts_nothing(rt: Runtime, tmp_path: Path):
    """An interruption is no exit: it costs no intensity, and the task goes on elsewhere."""
    file = tmp_path / "events"
    specs = [serving(id, file) for id in "abcd"]
    tree = rt.supervise(Supervisor("shop", strategy="one_for_all", intensity=0, children=specs))
    before = all_run(tree)
    kill_worker(tree.info("a"))
    until(lambda: len(events(file)) > 4, PATIENCE)
    after = all_run(tree)
    assert after.restarts == 0
    assert [each.task_id for each in after.children] == [each.task_id for each in before.children]


def test_a_child_that_takes_no_notice_is_killed_at_its_time(rt: Runtime, tmp_path: Path):
    file = tmp_path / "events"
    spec = child("deaf", app.stubborn.options(isolate=True), "deaf", str(file), shutdown=0.2)
    now = child("now", app.stubborn.options(isolate=True), "now", str(file), shutdown=0)
    tree = rt.supervise(Supervisor("shop", children=[spec, now]))
    until(lambda: file.exists() and sorted(events(file)) == ["+deaf", "+now"], PATIENCE)
    tree.restart()
    until(lambda: len(events(file)) == 4, PATIENCE)
    tree.stop()
    assert tree.wait(timeout=PATIENCE).state == "stopped"


def test_a_child_under_which_workers_die_is_an_abnormal_exit(rt: Runtime, tmp_path: Path):
    """Its deaths count from 0 after a restart, so that a tree and not the poison rule decides how often."""
    file = tmp_path / "events"
    spec = serving("a", file, isolate=True)
    tree = rt.supervise(Supervisor("shop", intensity=5, period=100, children=[spec]))
    all_run(tree)
    task = tree.info("a").id
    for count in range(1, 6):
        rt.send(task, "exit")
        all_run(tree, count)
        assert rt.status(task).error.type == "WorkerDied"  # type: ignore[union-attr]
    rt.send(task, "exit")
    until(lambda: tree.status().state == "failed", PATIENCE)
    assert rt.status(task).state == "failed"


@pytest.mark.parametrize("seed", range(2))
def test_the_supervisor_dies_in_restarts(home: Path, tmp_path: Path, seed: int):
    """Again and again, at any moment: the tree is whole afterwards, its tasks are the same, and none runs twice."""
    rng = random.Random(seed)
    file = tmp_path / "events"
    strategy: Any = ("one_for_all", "rest_for_one")[seed % 2]
    inner = Supervisor("in", intensity=0, children=[serving("x", file), serving("y", file)])
    spec = Supervisor(
        "shop", strategy=strategy, intensity=MANY, children=[serving("a", file), inner, serving("z", file)]
    )
    with Runtime(home, app="tree_tasks", workers=2, restarts=1_000, drain=1.0) as rt:
        tree = rt.supervise(spec)
        all_run(tree)
        paths = ["a", "in/x", "in/y", "z"]
        tasks = {path: tree.info(path).id for path in paths}
        for _ in range(ROUNDS):
            rt.send(tasks[rng.choice(paths)], "raise")
            time.sleep(rng.random() * 0.05)  # the moment of the death is what is varied
            kill_supervisor(rt)
            with suppress(SupervisorLost):
                rt.send(tasks["a"], "count")
            all_run(tree)
            assert {path: tree.info(path).id for path in paths} == tasks
        tree.stop()
        assert tree.wait(timeout=PATIENCE).state == "stopped"
    assert check(home).sound


@pytest.mark.parametrize("deaths", [0, 3])
def test_the_children_of_a_large_tree_begin_in_their_order(home: Path, tmp_path: Path, deaths: int):
    """They begin in runs, each run on one worker; those that had begun when the supervisor died go on."""
    file = tmp_path / "begins"
    file.touch()
    names = [f"m{number:03}" for number in range(200)]
    spec = Supervisor("shop", children=[child(name, app.begins, name, str(file)) for name in names])
    with Runtime(home, app="tree_tasks", workers=2, restarts=1_000, drain=1.0) as rt:
        tree = rt.supervise(spec)
        for some in range(50, 50 * deaths + 1, 50):
            until(lambda some=some: len(set(events(file))) > some, PATIENCE)
            kill_supervisor(rt)
            with suppress(SupervisorLost):
                rt.supervise(spec)
        all_run(tree)
        tree.stop()
        assert tree.wait(timeout=PATIENCE).state == "stopped"
        rows = rt.list(task=app.begins, limit=1_000)
        assert [row.state for row in rows] == ["cancelled"] * len(names)
    lines = sorted(file.read_text().splitlines())
    begun = [line.split()[1] for line in lines]
    assert [each for number, each in enumerate(begun) if each not in begun[:number]] == names
    assert check(home).sound


def test_an_asyncio_program_supervises(home: Path, tmp_path: Path):
    file = tmp_path / "events"

    async def program() -> None:
        async with AsyncRuntime(home, app="tree_tasks", workers=1, drain=1.0) as rt:
            tree = await rt.supervise(Supervisor("shop", children=[serving("a", file)]))
            await asyncio.to_thread(all_run, tree.sync)
            assert (await rt.tree_of("shop")).id == tree.id == "shop"
            assert [each.state for each in await rt.trees()] == ["running"]
            assert (await tree.child("a")).state == "running"
            assert await tree.start_child(serving("b", file)) == "b"
            await asyncio.to_thread(all_run, tree.sync)
            await tree.restart()
            await tree.stop()
            assert (await tree.wait(timeout=PATIENCE)).state == "stopped"

    asyncio.run(program())

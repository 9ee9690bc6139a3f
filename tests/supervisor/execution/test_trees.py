"""Supervision trees by the clock of the test: what is stopped and started, in which order, and what is on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import tree_tasks as app
from understudy import (
    InvalidOption,
    Retry,
    State,
    Supervisor,
    SupervisorLost,
    TaskNotFound,
    Tree,
    TreeNotFound,
    TreeStatus,
    UnknownTask,
    child,
)
from understudy.actors.trees.child import ChildSpec
from understudy.testing import InlineRuntime

SERVICES = ("a", "b", "c", "d")


@pytest.fixture
def rt() -> Iterator[InlineRuntime]:
    app.noted.clear()
    with InlineRuntime() as runtime:
        yield runtime


def serving(id: str, name: str = "") -> ChildSpec:
    """A child that says when it is ready, so that the next one notes its start after it."""
    return child(id, app.service, name or id, kwargs={"says_ready": True}, ready=True)


def services() -> list[ChildSpec]:
    """Four children."""
    return [serving(id) for id in SERVICES]


def happened() -> str:
    """What has happened since the last look."""
    text = " ".join(app.noted)
    app.noted.clear()
    return text


def states(tree: Tree) -> dict[str, str]:
    return {each.id: each.state for each in tree.status().children}


def without_pids(status: TreeStatus) -> Any:
    """What is known of a tree, without the processes that it is in."""

    def stripped(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: stripped(value) for key, value in part.items() if key != "worker_pid"}
        return [stripped(each) for each in part] if isinstance(part, list | tuple) else part

    return stripped(status.as_dict())


def tell(rt: InlineRuntime, tree: Tree, path: str, what: str) -> None:
    rt.send(tree.info(path).id, what)
    rt.settle()


# --- starting and stopping ---


def test_children_start_in_order_and_stop_in_reverse(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=services()))
    rt.settle()
    assert happened() == "+a +b +c +d"
    assert (tree.status().state, set(states(tree).values())) == ("running", {"running"})
    tree.stop()
    rt.settle()
    assert happened() == "-d -c -b -a"
    assert (tree.status().state, set(states(tree).values())) == ("stopped", {"stopped"})
    assert tree.wait(timeout=1).state == "stopped"


def test_the_next_one_waits_for_one_that_must_be_ready(rt: InlineRuntime):
    tree = rt.supervise(
        Supervisor(
            "shop",
            intensity=1,
            children=[
                child("a", app.service, "a", kwargs={"says_ready": True}, ready=True),
                child("b", app.service, "b", ready=True, start_timeout=2),
                child("c", app.service, "c"),
            ],
        )
    )
    rt.settle()
    assert happened() == "+a +b"
    assert states(tree) == {"a": "running", "b": "starting", "c": "starting"}
    rt.clock.advance(2.1)
    assert happened() == "-b +b", "it was not ready in time, which is an abnormal exit"
    exit = tree.child("b").last_exit
    assert exit is not None
    assert (exit.kind, exit.reason) == ("abnormal", "NotReady: not ready within 2 s")
    rt.clock.advance(2.1)
    assert tree.status().state == "failed"
    assert happened() == "-b -a"


def test_a_tree_without_children_runs(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=[]))
    assert tree.status().state == "running"
    tree.stop()
    assert tree.status().state == "stopped"


def test_a_child_that_does_not_stop_is_killed(rt: InlineRuntime):
    """By its own time, not by the grace of its task, which is a minute."""
    tree = rt.supervise(Supervisor("shop", children=[child("a", app.shielded, "a", shutdown=3)]))
    rt.settle()
    tree.stop()
    rt.clock.advance(2.9)
    assert tree.status().state == "stopping"
    rt.clock.advance(0.2)
    assert tree.status().state == "stopped"


def waited_for(rt: InlineRuntime) -> Tree:
    """A tree that waits without end for a child which takes no notice; the child's timeout is 30 s, its grace 1 s."""
    unmoved = app.shielded.options(timeout=30, grace=1)
    tree = rt.supervise(Supervisor("shop", children=[child("a", unmoved, "a", shutdown=None)]))
    rt.settle()
    tree.stop()
    rt.clock.advance(20)
    assert tree.status().state == "stopping"
    return tree


def test_a_timeout_ends_a_child_for_which_its_tree_waits_without_end(rt: InlineRuntime):
    tree = waited_for(rt)
    rt.clock.advance(11.5)
    assert tree.status().state == "stopped"


def test_a_cancel_ends_a_child_for_which_its_tree_waits_without_end(rt: InlineRuntime):
    tree = waited_for(rt)
    rt.cancel(tree.info("a").id)
    rt.clock.advance(1.5)
    assert tree.status().state == "stopped"


# --- exits ---


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("one_for_one", "+b"),
        ("rest_for_one", "-d -c +b +c +d"),
        ("one_for_all", "-d -c -a +a +b +c +d"),
    ],
)
def test_what_is_restarted_with_a_child(rt: InlineRuntime, strategy: Any, expected: str):
    tree = rt.supervise(Supervisor("shop", strategy=strategy, children=services()))
    rt.settle()
    happened()
    ids = {path: tree.info(path).id for path in SERVICES}
    tell(rt, tree, "b", "raise")
    assert happened() == expected
    assert {path: tree.info(path).id for path in SERVICES} == ids, "all are the same tasks"
    assert [(each.id, each.restarts) for each in tree.status().children] == [
        ("a", 0),
        ("b", 1),
        ("c", 0),
        ("d", 0),
    ]
    exit = tree.child("b").last_exit
    assert exit is not None
    assert (exit.kind, exit.reason) == ("abnormal", "ValueError: told to")


@pytest.mark.parametrize(
    ("restart", "how", "expected"),
    [
        ("permanent", "return", "+r"),
        ("permanent", "fail", "+f1 +f2 +f3"),
        ("permanent", "cancel", "-s +s"),
        ("permanent", "time out", "+l"),
        ("transient", "return", "completed"),
        ("transient", "fail", "+f1 +f2 +f3"),
        ("transient", "cancel", "stopped"),
        ("transient", "time out", "+l"),
        ("temporary", "return", "completed"),
        ("temporary", "fail", "failed"),
        ("temporary", "cancel", "stopped"),
        ("temporary", "time out", "failed"),
    ],
)
def test_how_it_ends_and_whether_it_is_started_again(
    rt: InlineRuntime, restart: Any, how: str, expected: str
):
    spec = {
        "return": child("x", app.returns, "r", restart=restart),
        "fail": child("x", app.fails, "f", restart=restart),
        "cancel": child("x", app.service, "s", restart=restart),
        "time out": child("x", app.late, "l", restart=restart),
    }[how]
    tree = rt.supervise(Supervisor("shop", intensity=1, period=60, children=[spec]))
    rt.settle()
    if how == "return":
        tell(rt, tree, "x", "now")
    elif how == "cancel":
        happened()
        tree.info("x").cancel()
        rt.settle()
    else:
        rt.clock.advance(3.5 if how == "fail" else 0.4)
    if expected.startswith(("+", "-")):
        assert expected in happened()
        assert tree.child("x").restarts == 1
    else:
        assert states(tree) == {"x": expected}
        assert tree.status().state == "running", "the tree goes on without it"


def test_its_own_retries_come_first_and_count_anew_after_a_restart(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", intensity=2, period=1000, children=[child("x", app.fails, "f")]))
    rt.clock.advance(60)
    assert happened() == " ".join(f"+f{attempt}" for attempt in range(1, 10))
    assert (tree.status().state, tree.child("x").restarts) == ("failed", 2)


def test_too_many_restarts(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", intensity=2, period=5, children=services()))
    rt.settle()
    for _ in range(2):
        tell(rt, tree, "b", "raise")
    rt.clock.advance(6)
    tell(rt, tree, "b", "raise")
    assert tree.status().state == "running", "the first two count no more"
    task = tree.info("b").id
    tell(rt, tree, "b", "raise")
    happened()
    tell(rt, tree, "b", "raise")
    assert happened() == "-d -c -a"
    status = tree.status()
    assert (status.state, status.restarts, states(tree)["b"]) == ("failed", 4, "failed")
    assert rt.status(task).state is State.FAILED
    with pytest.raises(TaskNotFound):
        tree.info("b")


def test_a_backoff_pauses_before_each_restart(rt: InlineRuntime):
    backoff = Retry(1, delay=2, backoff="exponential")
    tree = rt.supervise(Supervisor("shop", intensity=10, period=100, backoff=backoff, children=services()))
    rt.settle()
    happened()
    for pause in (2, 4):
        tell(rt, tree, "b", "raise")
        tell(rt, tree, "d", "count")
        assert happened() == f"d={pause // 2}", "nobody waits for it"
        rt.clock.advance(pause - 0.1)
        assert happened() == ""
        assert states(tree)["b"] == "restarting"
        assert rt.status(tree.info("b").id).waits_for == "tree"
        rt.clock.advance(0.2)
        assert happened() == "+b"


def test_messages_wait_for_the_next_attempt_and_the_checkpoint_stays(rt: InlineRuntime):
    backoff = Retry(1, delay=2)
    tree = rt.supervise(
        Supervisor(
            "shop",
            backoff=backoff,
            children=[child("a", app.service, "a"), child("f", app.service, "f", fresh=True)],
        )
    )
    rt.settle()
    a, f = tree.info("a").id, tree.info("f").id
    for task in (a, f):
        rt.send(task, "raise")
    rt.settle()
    happened()
    for task in (a, f):
        rt.send(task, "count")
    rt.clock.advance(2.1)
    assert sorted(happened().split()) == ["+a", "+f", "a=2", "f=1"], (
        "a fresh one begins without its checkpoint"
    )


def test_a_fresh_child_begins_without_its_steps(rt: InlineRuntime):
    children = [child("a", app.steps, "a"), child("f", app.steps, "f", fresh=True)]
    tree = rt.supervise(Supervisor("shop", children=children))
    rt.settle()
    assert sorted(happened_so_far()) == ["a#0", "f#0"]
    for each in ("a", "f"):
        rt.send(tree.info(each).id, "raise")
    rt.settle()
    assert sorted(happened_so_far()) == ["a#0", "a#0", "f#0", "f#1"]
    assert [rt.status(tree.info(each).id).steps for each in ("a", "f")] == [1, 1]


def happened_so_far() -> list[str]:
    return list(app.noted)


def test_the_end_of_a_significant_child(rt: InlineRuntime):
    tree = rt.supervise(
        Supervisor(
            "shop",
            auto_shutdown="any_significant",
            children=[*services(), child("r", app.returns, "r", restart="transient", significant=True)],
        )
    )
    rt.settle()
    happened()
    tell(rt, tree, "r", "now")
    assert happened() == "-r -d -c -b -a"
    assert (tree.status().state, states(tree)["r"]) == ("stopped", "completed")


# --- trees in trees ---


def nested(**options: Any) -> Supervisor:
    inner = Supervisor("in", children=[serving("x"), serving("y")], **options)
    return Supervisor(
        "out", strategy="rest_for_one", intensity=1, period=100,
        children=[serving("a"), inner, serving("z")],
    )  # fmt: skip


def test_a_tree_starts_and_stops_in_its_place(rt: InlineRuntime):
    tree = rt.supervise(nested())
    rt.settle()
    assert happened() == "+a +x +y +z"
    assert tree.child("in").state == "running"
    tree.stop()
    rt.settle()
    assert happened() == "-z -y -x -a"


def test_a_tree_that_gives_up_is_an_abnormal_exit(rt: InlineRuntime):
    tree = rt.supervise(nested(intensity=0))
    rt.settle()
    happened()
    y, x = tree.info("in/y").id, tree.info("in/x").id
    tell(rt, tree, "in/x", "raise")
    assert happened() == "-y -z +x +y +z"
    assert (tree.info("in/x").id, tree.info("in/y").id) == (x, y), "its tasks go on"
    assert (tree.child("in").restarts, tree.status().restarts) == (1, 1)
    tell(rt, tree, "in/x", "raise")
    assert happened() == "-y -z -a"
    assert (tree.status().state, tree.child("in").state) == ("failed", "failed")
    assert (rt.status(x).state, rt.status(y).state) == (State.FAILED, State.CANCELLED)


def test_a_temporary_tree_that_gives_up_stays_down(rt: InlineRuntime):
    tree = rt.supervise(nested(intensity=0, restart="temporary"))
    rt.settle()
    happened()
    x = tree.info("in/x").id
    tell(rt, tree, "in/x", "raise")
    assert happened() == "-y"
    assert (tree.status().state, tree.child("in").state) == ("running", "failed")
    assert rt.status(x).state is State.FAILED


# --- by hand ---


def test_one_child_is_terminated_restarted_and_deleted(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", strategy="one_for_all", children=services()))
    rt.settle()
    happened()
    first = tree.info("b").id
    with pytest.raises(InvalidOption, match="terminate it first"):
        tree.delete_child("b")
    tree.terminate_child("b")
    rt.settle()
    assert happened() == "-b", "no other one is touched"
    assert (states(tree)["b"], rt.status(first).state) == ("stopped", State.CANCELLED)
    tree.restart_child("b")
    rt.settle()
    assert happened() == "+b"
    assert tree.info("b").id != first, "one that has ended for good is a new task"
    tree.restart_child("shop/b")
    rt.settle()
    assert happened() == "-b +b"
    tree.terminate_child("b")
    rt.settle()
    tree.delete_child("b")
    assert list(states(tree)) == ["a", "c", "d"]
    with pytest.raises(TreeNotFound):
        tree.child("b")


def test_children_are_added(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=services()))
    assert tree.start_child(serving("e")) == "e"
    rt.settle()
    assert happened() == "+a +b +c +d +e"
    with pytest.raises(InvalidOption, match="has a child e already"):
        tree.start_child(serving("e"))
    assert tree.start_child(Supervisor("more", children=[serving("f")])) == "more"
    rt.settle()
    assert tree.child("more/f").state == "running"


def test_a_whole_tree_is_restarted(rt: InlineRuntime):
    tree = rt.supervise(nested())
    rt.settle()
    happened()
    x = tree.info("in/x").id
    tree.restart()
    rt.settle()
    assert happened() == "-z -y -x -a +a +x +y +z"
    assert tree.info("in/x").id == x
    tree.stop()
    rt.settle()
    tree.restart()
    rt.settle()
    assert tree.status().state == "running"


# --- deploys ---


def test_another_spec_of_the_same_tree(rt: InlineRuntime):
    """What has not changed goes on, what has is restarted, what is gone is stopped, what is new is started."""
    tree = rt.supervise(Supervisor("shop", children=services()))
    rt.settle()
    happened()
    ids = {path: tree.info(path).id for path in SERVICES}
    rt.supervise(
        Supervisor(
            "shop",
            strategy="one_for_all",
            children=[
                serving("a"),
                serving("n"),
                serving("c", "c2"),
                serving("d"),
            ],
        )
    )
    rt.settle()
    assert happened() == "-c -b +n +c2"
    assert (tree.info("a").id, tree.info("d").id) == (ids["a"], ids["d"])
    assert tree.info("c").id != ids["c"]
    assert list(states(tree)) == ["a", "n", "c", "d"]
    tell(rt, tree, "d", "raise")
    assert happened() == "-c2 -n -a +a +n +c2 +d", "the strategy is the new one"


def test_a_child_becomes_a_tree(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=services()))
    rt.settle()
    b = tree.info("b").id
    rt.supervise(Supervisor("shop", children=[Supervisor("b", children=[serving("x")])]))
    rt.settle()
    assert states(tree) == {"b": "running"}
    assert rt.status(b).state is State.CANCELLED


def test_the_same_spec_changes_nothing(rt: InlineRuntime):
    rt.supervise(nested())
    rt.settle()
    happened()
    rt.supervise(nested())
    rt.settle()
    assert happened() == ""


def test_a_tree_that_was_stopped_stays_so_until_it_is_restarted(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", children=services()))
    tree.stop()
    rt.settle()
    happened()
    rt.supervise(Supervisor("shop", children=services()))
    rt.settle()
    assert (happened(), tree.status().state) == ("", "stopped")
    tree.restart()
    rt.settle()
    assert happened() == "+a +b +c +d"


def slow(*ids: str) -> list[ChildSpec]:
    """Children that take three seconds to stop, as they are killed."""
    return [child(id, app.shielded, id, shutdown=3) for id in ids]


@pytest.mark.parametrize("how", ["restart", "supervise"])
def test_a_tree_that_ends_just_now_is_started_again(rt: InlineRuntime, how: str):
    """By hand after a stop; by the same spec while it gives up."""
    spec = Supervisor("shop", intensity=0, children=[*slow("a"), serving("b")])
    tree = rt.supervise(spec)
    rt.settle()
    if how == "restart":
        tree.stop()
    else:
        tell(rt, tree, "b", "raise")
    rt.clock.advance(1)
    assert tree.status().state == "stopping"
    tree.restart() if how == "restart" else rt.supervise(spec)
    rt.clock.advance(3)
    assert (tree.status().state, set(states(tree).values())) == ("running", {"running"})
    assert happened().endswith("+a +b")


def test_a_tree_that_comes_back_into_the_app_while_it_is_stopped(rt: InlineRuntime):
    """With another child, and another spec of one that is there."""

    def declare(*children: ChildSpec) -> None:
        trees = rt._world.core.service.trees
        packed = [Supervisor("shop", children=children).pack()] if children else []
        rt._driver.drive(lambda: trees.declare(packed))
        rt.settle()

    declare(*slow("a", "b"))
    assert happened() == "+a +b"
    declare()
    assert rt.tree_of("shop").status().state == "stopping"
    again = child("b", app.shielded, "b2", shutdown=3)
    declare(*slow("a"), again, serving("c"))
    rt.clock.advance(7)
    tree = rt.tree_of("shop")
    assert (tree.status().state, states(tree)) == ("running", dict.fromkeys("abc", "running"))
    assert happened() == "+a +b2 +c"


def test_the_restarts_of_a_tree_count_from_0_when_it_is_started(rt: InlineRuntime):
    """Of a nested one that its parent starts again, and of a top one that is restarted by hand."""
    inner = Supervisor("in", intensity=1, period=100, children=[serving("x")])
    tree = rt.supervise(Supervisor("out", intensity=2, period=100, children=[inner]))
    rt.settle()
    for _ in range(3):
        tell(rt, tree, "in/x", "raise")
    assert (tree.child("in").state, tree.status().state) == ("running", "running")
    for _ in range(3):
        tell(rt, tree, "in/x", "raise")
    assert tree.status().state == "failed"
    tree.restart()
    rt.settle()
    for _ in range(3):
        tell(rt, tree, "in/x", "raise")
    assert tree.status().state == "running"


def test_another_spec_of_a_child_whose_task_is_held(rt: InlineRuntime):
    """Its nested tree is about to be started again. The child is a new task then, with the new arguments."""

    def spec(name: str) -> Supervisor:
        inner = Supervisor("in", children=[serving("x", name)])
        return Supervisor("out", strategy="rest_for_one", children=[*slow("s"), inner])

    tree = rt.supervise(spec("x"))
    rt.settle()
    before = tree.info("in/x").id
    tree.restart_child("s")
    tree.restart_child("in")
    rt.settle()
    happened()
    rt.supervise(spec("new"))
    rt.clock.advance(4)
    assert "+new" in happened()
    assert (rt.status(before).state, tree.status().state) == (State.CANCELLED, "running")


@pytest.mark.parametrize("restart", ["permanent", "transient"])
def test_a_cancel_in_the_pause_before_a_restart(rt: InlineRuntime, restart: Any):
    spec = child("a", app.service, "a", restart=restart)
    tree = rt.supervise(Supervisor("shop", backoff=Retry(1, delay=5), children=[spec]))
    rt.settle()
    first = tree.info("a").id
    tell(rt, tree, "a", "raise")
    rt.cancel(first)
    rt.clock.advance(60)
    assert rt.status(first).state is State.CANCELLED
    assert states(tree) == {"a": "running" if restart == "permanent" else "stopped"}
    exit = tree.child("a").last_exit
    assert exit is not None
    assert (exit.kind, exit.reason) == ("shutdown", "cancelled")


def test_a_child_that_pauses_is_restarted_by_hand_at_once(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", backoff=Retry(1, delay=60), children=[serving("a")]))
    rt.settle()
    tell(rt, tree, "a", "raise")
    happened()
    tree.restart_child("a")
    rt.settle()
    assert happened() == "+a"


@pytest.mark.parametrize("first", ["cancel", "stop"])
def test_the_sooner_kill_counts(rt: InlineRuntime, first: str):
    """Of a cancel with the task's own grace, and of its tree's stop."""
    grace, shutdown = (60, 3) if first == "cancel" else (3, 60)
    spec = child("a", app.shielded.options(grace=grace), "a", shutdown=shutdown, restart="temporary")
    tree = rt.supervise(Supervisor("shop", children=[spec]))
    rt.settle()
    info = tree.info("a")
    if first == "cancel":
        info.cancel()
        tree.stop()
    else:
        tree.stop()
        info.cancel()
    rt.clock.advance(2.9)
    assert tree.status().state == "stopping"
    rt.clock.advance(0.2)
    assert (tree.status().state, rt.status(info.id).state) == ("stopped", State.CANCELLED)


def test_a_child_that_is_terminated_while_it_stops_for_a_restart_is_cancelled(rt: InlineRuntime):
    spec = child("b", app.unhurried, "b", shutdown=10)
    tree = rt.supervise(Supervisor("shop", strategy="one_for_all", children=[serving("a"), spec]))
    rt.settle()
    info = tree.info("b")
    tell(rt, tree, "a", "raise")
    rt.clock.advance(1)
    tree.terminate_child("b")
    rt.clock.advance(2)
    assert rt.status(info.id).state is State.CANCELLED
    assert states(tree) == {"a": "running", "b": "stopped"}


# --- crashes ---


def test_a_tree_that_has_failed_can_be_stopped(rt: InlineRuntime):
    spec = Supervisor("shop", intensity=0, children=services())
    tree = rt.supervise(spec)
    rt.settle()
    tell(rt, tree, "a", "raise")
    assert tree.status().state == "failed"
    tree.stop()
    assert tree.status().state == "stopped"
    happened()
    rt.crash()
    rt.supervise(spec)
    rt.settle()
    assert (tree.status().state, happened()) == ("stopped", "")
    tree.restart()
    rt.settle()
    assert (tree.status().state, happened()) == ("running", "+a +b +c +d")


def test_how_each_attempt_has_ended(rt: InlineRuntime):
    tree = rt.supervise(Supervisor("shop", strategy="one_for_all", children=services()[:2]))
    rt.settle()
    tell(rt, tree, "a", "raise")
    states = {id: [run.state for run in rt.attempts(tree.info(id).id)] for id in ("a", "b")}
    assert states == {"a": ["failed", "running"], "b": ["completed", "running"]}, "b did nothing wrong"


def test_after_a_crash_what_ran_goes_on(rt: InlineRuntime):
    tree = rt.supervise(nested())
    rt.settle()
    tell(rt, tree, "a", "raise")
    before = tree.status()
    happened()
    rt.crash()
    rt.settle()
    assert sorted(happened().split()) == ["+a", "+x", "+y", "+z"]
    assert without_pids(tree.status()) == without_pids(before), "counts, exits and tasks are the same"


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 9))
def test_a_crash_in_a_restart(side: str, nth: int):
    """The tree goes on from its marks, wherever the crash was."""
    app.noted.clear()
    with InlineRuntime() as rt:
        tree = rt.supervise(Supervisor("shop", strategy="one_for_all", children=services()))
        rt.settle()
        rt.send(tree.info("b").id, "raise")
        rt.crash_at(f"commit.{side}", nth)
        rt.settle()
        rt.clock.advance(1)
        assert set(states(tree).values()) == {"running"}
        assert tree.child("b").restarts == 1


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 9))
def test_a_crash_in_an_escalation(side: str, nth: int):
    app.noted.clear()
    with InlineRuntime() as rt:
        tree = rt.supervise(nested(intensity=0))
        rt.settle()
        tasks = {path: tree.info(path).id for path in ("a", "in/x", "in/y", "z")}
        rt.send(tasks["in/x"], "raise")
        rt.crash_at(f"commit.{side}", nth)
        rt.settle()
        rt.clock.advance(1)
        assert set(states(tree).values()) == {"running"}
        assert {path: tree.info(path).id for path in tasks} == tasks
        assert tree.status().restarts == 1


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 7))
def test_a_crash_in_a_deploy(side: str, nth: int):
    app.noted.clear()
    with InlineRuntime() as rt:
        tree = rt.supervise(Supervisor("shop", children=services()))
        rt.settle()
        happened()
        rt.crash_at(f"commit.{side}", nth)
        with suppress(SupervisorLost):
            # Supervising the same again changes nothing, so it is asked again.
            rt.supervise(Supervisor("shop", children=[serving("a"), serving("c", "c2"), serving("n")]))
        rt.settle()
        rt.supervise(Supervisor("shop", children=[serving("a"), serving("c", "c2"), serving("n")]))
        rt.settle()
        rt.clock.advance(1)
        assert states(tree) == {"a": "running", "c": "running", "n": "running"}
        assert len(rt.search("state:running,queued").tasks) == 3
        assert not {"+c", "+d"} & set(app.noted[app.noted.index("+c2") :])


# --- actors ---


def test_an_actor_is_named_by_its_path(rt: InlineRuntime):
    tree = rt.supervise(
        Supervisor(
            "shop",
            strategy="one_for_all",
            children=[serving("a"), child("cart", app.Counter, "k")],
        )
    )
    rt.settle()
    ref: Any = rt.lookup(app.Counter, "shop/cart")
    assert tree.info("cart") == ref
    assert [ref.call("add") for _ in range(2)] == [1, 2]
    tell(rt, tree, "a", "raise")
    assert ref.call("add") == 3, "its state stays"
    assert app.noted.count("+k") == 2, "its object was built anew"
    ref.stop()
    rt.settle()
    assert tree.child("cart").restarts == 1
    assert rt.lookup(app.Counter, "shop/cart").call("add") == 1, "one that has stopped is started afresh"


# --- bad input ---


def test_what_is_refused(rt: InlineRuntime):
    with pytest.raises(InvalidOption, match="supervise takes a Supervisor"):
        rt.supervise(app.service)  # type: ignore[arg-type]
    with pytest.raises(TreeNotFound):
        rt.tree_of("shop")
    tree = rt.supervise(Supervisor("shop", children=services()))
    with pytest.raises(InvalidOption, match="is a whole tree"):
        tree.terminate_child("shop")
    with pytest.raises(InvalidOption, match="without children"):
        Tree(rt, "shop/a").start_child(serving("b"))
    with pytest.raises(TreeNotFound):
        tree.restart_child("x")
    with pytest.raises(UnknownTask):
        rt.supervise(Supervisor("other", children=[child("a", app.service.options(name="nobody:has"), "a")]))
    assert [each.id for each in rt.trees()] == ["shop"]

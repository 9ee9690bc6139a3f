"""Supervision trees against a model: what each strategy restarts, and that nothing sent to a child is lost.

The tree runs in an InlineRuntime, so that a step is over when it returns. Children fail, return, lose their workers and
their supervisor, are terminated and restarted. The model knows of each child its task, its attempt and its messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from models import check_model
from understudy import Supervisor, Tree, child, ready, receive, restore, task
from understudy import checkpoint as save
from understudy.actors.trees.supervisor import Strategy
from understudy.testing import InlineRuntime

IDS = ("a", "b", "c", "d")
EXAMPLES = 25
STEPS = 25


@task(timeout=None, ack="checkpoint")
def tree_model_child() -> list[Any]:
    """Keeps every message; some of them end it."""
    state: list[Any] = restore() or []
    ready()
    while (message := receive()) is not None and not isinstance(message, dict):
        state.append(message)
        save(state)
        if message == "fail":
            raise ValueError("as it was told")
        if message == "return":
            break
    return state


@task(timeout=None, ack="checkpoint", pool="aside")
def tree_model_aside() -> list[Any]:
    """The same, in a pool."""
    return tree_model_child()


@dataclass
class Child:
    """What must be known of one child."""

    task_id: str
    attempt: int = 1
    messages: list[Any] = field(default_factory=list)
    runs: bool = True


class Machine(RuleBasedStateMachine):
    strategy: Strategy

    def __init__(self) -> None:
        super().__init__()
        self.rt = InlineRuntime(now=1_700_000_000, pools={"aside": 1}, max_crashes=1_000_000)
        bodies = (tree_model_child, tree_model_aside)
        children = [child(id, bodies[n % 2], ready=True) for n, id in enumerate(IDS)]
        self.tree: Tree = self.rt.supervise(
            Supervisor("model", strategy=self.strategy, intensity=1_000_000, children=children)
        )
        self.rt.settle()
        self.children = {id: Child(self.tree.info(id).id) for id in IDS}
        self.numbers = iter(range(1, 1_000_000))

    def teardown(self) -> None:
        self.tree.stop()
        assert self.tree.wait(timeout=100).state == "stopped"
        for each in self.children.values():
            assert self.rt.status(each.task_id).ended_already
        self.rt.close()

    which = st.sampled_from(IDS)

    def restarted_with(self, id: str) -> list[Child]:
        """The children that the strategy restarts when this one has ended, of those that run."""
        at = IDS.index(id)
        affected = {"one_for_one": IDS[at : at + 1], "rest_for_one": IDS[at:], "one_for_all": IDS}[
            self.strategy
        ]
        return [self.children[each] for each in affected if self.children[each].runs]

    # --- steps ---

    @rule(which=which, count=st.integers(1, 3))
    def send(self, which: str, count: int) -> None:
        each = self.children[which]
        if each.runs:
            new = [next(self.numbers) for _ in range(count)]
            self.rt.send_many([(each.task_id, number) for number in new])
            each.messages += new

    @rule(which=which, how=st.sampled_from(["fail", "return"]), behind=st.booleans())
    def ends(self, which: str, how: str, behind: bool) -> None:
        """With a message behind the one that ends it, which its next attempt receives."""
        each = self.children[which]
        if each.runs:
            new = [how, next(self.numbers)] if behind else [how]
            self.rt.send_many([(each.task_id, message) for message in new])
            each.messages += new
            for affected in self.restarted_with(which):
                affected.attempt += 1

    @rule(which=which)
    def loses_its_worker(self, which: str) -> None:
        """This is an exit or an interruption, as the others on that worker say. Nothing else depends on it."""
        if self.children[which].runs:
            self.rt.kill_worker(self.children[which].task_id)
            self.rt.settle()
            for each in self.children.values():
                if each.runs:
                    attempt = self.rt.status(each.task_id).attempt
                    assert attempt >= each.attempt
                    each.attempt = attempt

    @rule()
    def loses_the_supervisor(self) -> None:
        self.rt.crash()

    @rule(which=which)
    def restart_child(self, which: str) -> None:
        each = self.children[which]
        self.tree.restart_child(which)
        self.started(which, each)

    @precondition(lambda self: sum(each.runs for each in self.children.values()) > 1)
    @rule(which=which)
    def terminate_child(self, which: str) -> None:
        each = self.children[which]
        self.tree.terminate_child(which)
        self.rt.settle()
        if each.runs:
            assert self.rt.status(each.task_id).state == "cancelled"
        each.runs = False

    @rule()
    def restart(self) -> None:
        self.tree.restart()
        for id, each in self.children.items():
            self.started(id, each)

    def started(self, id: str, each: Child) -> None:
        """One that runs goes on with its next attempt; one that has ended for good is another task."""
        self.rt.settle()
        if each.runs:
            each.attempt += 1
        else:
            self.children[id] = Child(self.tree.info(id).id)
            assert self.children[id].task_id != each.task_id

    # --- what holds after each of them ---

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self.rt.settle()
        for id, each in self.children.items():
            status = self.tree.child(id)
            if not each.runs:
                assert status.state == "stopped", (id, status)
                continue
            record = self.rt.status(each.task_id)
            assert (status.state, status.task_id) == ("running", each.task_id), (id, status, record)
            assert (record.state, record.attempt) == ("running", each.attempt), (id, record)
            assert (self.rt.restore(each.task_id) or []) == each.messages, id
            assert record.mailbox_depth == 0
        assert self.tree.status().state == "running"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_trees_do_what_their_strategy_says(strategy: Strategy) -> None:
    check_model(type("Machine", (Machine,), {"strategy": strategy}), EXAMPLES, STEPS)

"""Links, monitors, steps and maps against a model: what ends with what, who is told of it, and which value a step has.

Everything is in an InlineRuntime, so that an action is over when it returns. Parents obey messages, and fail, return,
are cancelled, and lose their workers and their supervisor, also at a commit. The model knows what each of them must
have been told by then.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from models import check_model
from understudy import (
    Retry,
    SupervisorLost,
    current,
    gather,
    map_tasks,
    monitor,
    receive,
    restore,
    step,
    task,
)
from understudy import checkpoint as save
from understudy.testing import InlineRuntime

EXAMPLES = 15
STEPS = 25
PARENTS = 2
#: The keys of maps, with the number of their items.
MAPS = {"one": 1, "three": 3, "eight": 8}


@task(timeout=None)
def tie_model_child() -> str:
    """Goes on until its mailbox is closed, or until it is cancelled."""
    while receive() not in (None, {"$cancel": True}):
        pass
    return "ended"


@task(retry=Retry(1_000_000, 0))
def tie_model_twin(number: int) -> list[Any]:
    """The child of a map."""
    return [current().id, 2 * number]


def _draw() -> int:
    return random.getrandbits(40)


@task(timeout=None, ack="checkpoint", retry=Retry(1_000_000, 0))
def tie_model_parent() -> dict[str, Any]:
    """Does what it is told, and keeps what it is told of ends."""
    state: dict[str, Any] = restore() or {"children": [], "downs": [], "values": [], "maps": []}
    while (message := receive()) is not None and message != {"$cancel": True}:
        match message:
            case {"$down": id, "state": how}:
                state["downs"].append([id, how])
            case ["start", linked]:
                key = f"{current().id}/{len(state['children'])}"
                state["children"].append(tie_model_child.options(link=linked, key=key).start().id)
            case ["watch", id]:
                monitor(id)
            case ["step", key]:
                state["values"].append([key, step.options(key=key)(_draw)])
            case ["map", key]:
                found = list(map_tasks(tie_model_twin, range(MAPS[key]), limit=3, key=key))
                again = gather([id for id, _ in found])
                state["maps"].append([key, found, again == found])
        save(state)
        if message == "fail":
            raise ValueError("as it was told")
        if message == "return":
            break
    return state


@dataclass
class Parent:
    """What must be known of a parent that has not ended."""

    id: str
    started: int = 0
    watches: set[str] = field(default_factory=set)
    downs: list[list[str]] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    maps: dict[str, Any] = field(default_factory=dict)
    mapped: int = 0


@dataclass
class Child:
    """One child, with the parent that it is linked to."""

    id: str
    linked_to: str | None
    state: str = "running"


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rt = InlineRuntime(now=1_700_000_000, max_crashes=1_000_000)
        self.parents = [self.new_parent() for _ in range(PARENTS)]
        self.children: list[Child] = []
        #: Children of all maps.
        self.twins = 0

    def teardown(self) -> None:
        self.rt.close()

    def new_parent(self) -> Parent:
        return Parent(self.rt.start(tie_model_parent).id)

    which = st.integers(0, PARENTS - 1)
    #: Which of the children; counted from the newest one.
    child = st.integers(1, 5)

    def tell(self, parent: Parent, message: Any) -> None:
        self.rt.send(parent.id, message)
        self.rt.settle()

    def ended(self, child: Child, state: str) -> None:
        """It has ended: who watches it is told."""
        child.state = state
        for parent in self.parents:
            if child.id in parent.watches:
                parent.watches.discard(child.id)
                parent.downs.append([child.id, state])

    # --- actions ---

    @rule(which=which, linked=st.booleans())
    def start(self, which: int, linked: bool) -> None:
        parent = self.parents[which]
        self.tell(parent, ["start", linked])
        parent.started += 1
        (*_, id) = self.state_of(parent)["children"]
        self.children.append(Child(id, parent.id if linked else None))

    @rule(which=which, child=child)
    def watch(self, which: int, child: int) -> None:
        if len(self.children) < child:
            return
        parent, found = self.parents[which], self.children[-child]
        self.tell(parent, ["watch", found.id])
        if found.state == "running":
            parent.watches.add(found.id)
        else:
            parent.downs.append([found.id, found.state])

    @rule(which=which, key=st.sampled_from("abc"))
    def step(self, which: int, key: str) -> None:
        self.tell(self.parents[which], ["step", key])
        self.parents[which].steps += 1

    @rule(which=which, key=st.sampled_from(sorted(MAPS)))
    def map(self, which: int, key: str) -> None:
        self.tell(self.parents[which], ["map", key])
        self.parents[which].mapped += 1

    @rule(child=child, how=st.sampled_from(["completed", "cancelled"]))
    def child_ends(self, child: int, how: str) -> None:
        if len(self.children) < child or self.children[-child].state != "running":
            return
        found = self.children[-child]
        self.rt.cancel(found.id) if how == "cancelled" else self.rt.close(found.id)
        self.rt.settle()
        self.ended(found, how)

    @rule(which=which)
    def parent_fails(self, which: int) -> None:
        """It is tried again: nothing has ended."""
        self.tell(self.parents[which], "fail")

    @rule(which=which, how=st.sampled_from(["return", "cancel"]))
    def parent_ends(self, which: int, how: str) -> None:
        parent = self.parents[which]
        self.rt.cancel(parent.id) if how == "cancel" else self.tell(parent, "return")
        self.rt.settle()
        assert self.rt.status(parent.id).state == ("cancelled" if how == "cancel" else "completed")
        self.parents[which] = self.new_parent()
        for child in self.children:
            if child.linked_to == parent.id and child.state == "running":
                self.ended(child, "cancelled")

    @rule(which=which)
    def worker_dies(self, which: int) -> None:
        self.rt.kill_worker(self.parents[which].id)

    @rule()
    def supervisor_dies(self) -> None:
        self.rt.crash()

    @rule(
        side=st.sampled_from(["before", "after"]),
        nth=st.integers(1, 4),
        which=which,
        key=st.sampled_from("abc"),
    )
    def supervisor_dies_at_a_commit(self, side: str, nth: int, which: int, key: str) -> None:
        """In the midst of a step, or of what follows it."""
        parent = self.parents[which]
        before = len(self.state_of(parent)["values"])
        self.rt.crash_at(f"commit.{side}", nth)
        for _ in range(4):  # each is one commit at least, so that the supervisor dies in one of them
            with suppress(SupervisorLost):
                self.rt.send(parent.id, ["step", key])
            self.rt.settle()
        parent.steps += len(self.state_of(parent)["values"]) - before

    @rule(
        side=st.sampled_from(["before", "after"]),
        nth=st.integers(1, 6),
        which=which,
        key=st.sampled_from(sorted(MAPS)),
    )
    def supervisor_dies_at_a_commit_of_a_map(self, side: str, nth: int, which: int, key: str) -> None:
        parent = self.parents[which]
        before = len(self.state_of(parent)["maps"])
        self.rt.crash_at(f"commit.{side}", nth)
        for _ in range(3):  # as above
            with suppress(SupervisorLost):
                self.rt.send(parent.id, ["map", key])
            self.rt.settle()
        parent.mapped += len(self.state_of(parent)["maps"]) - before

    # --- what holds after each of them ---

    def state_of(self, parent: Parent) -> dict[str, Any]:
        return self.rt.restore(parent.id) or {"children": [], "downs": [], "values": [], "maps": []}

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        self.rt.settle()
        for parent in self.parents:
            state = self.state_of(parent)
            assert self.rt.status(parent.id).state == "running"
            assert sorted(state["downs"]) == sorted(parent.downs), "each end once"
            assert len(state["children"]) == parent.started
            assert len(state["values"]) == parent.steps
            for key, value in state["values"]:
                assert parent.values.setdefault(key, value) == value, "a step keeps its value"
            assert len(state["maps"]) == parent.mapped
            for key, found, is_again in state["maps"]:
                assert is_again
                assert [value for _, value in found] == [2 * at for at in range(MAPS[key])]
                if key not in parent.maps:
                    self.twins += MAPS[key]
                assert parent.maps.setdefault(key, found) == found, "a map keeps its children"
        for child in self.children:
            assert self.rt.status(child.id).state == child.state
        assert len(self.rt.list(task=tie_model_twin, limit=10_000)) == self.twins, "each child of a map once"


@pytest.mark.timeout(180)
def test_ties_and_steps_are_as_the_model_says() -> None:
    check_model(Machine, EXAMPLES, STEPS)

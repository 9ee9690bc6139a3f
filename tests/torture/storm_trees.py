"""A supervision tree of a storm: services that go on where they were, whichever processes die.

Some of them run in a pool. Clients start the tree, restart parts of it, and stop and start single children.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storm_journal import on_stage, trace
from understudy import (
    InvalidOption,
    Runtime,
    State,
    Supervisor,
    Task,
    TreeNotFound,
    cancelled,
    checkpoint,
    child,
    current,
    ready,
    restore,
    sleep,
    task,
)

TREE = "services"
#: The pool of some children. Clients start other tasks there, too.
POOL = "aside"
#: Restarts that are never too many.
OFTEN: dict[str, Any] = {"intensity": 1_000_000, "period": 0.001}


def _count(fails: float) -> int:
    """Counts until it is asked to stop, with a checkpoint for each number. It never finds an older one."""
    with on_stage():
        done = restore() or 0
        trace("found", current().id, done)
        ready()
        while not cancelled():
            done += 1
            checkpoint(done)
            trace("saved", current().id, done)
            if random.random() < fails:
                raise ValueError("at random")
            sleep(random.uniform(0, 0.05))
        return done


@task(timeout=None)
def serves() -> int:
    return _count(0.0)


@task(timeout=None, pool=POOL)
def serves_aside() -> int:
    return _count(0.0)


@task(timeout=None)
def falters(fails: float) -> int:
    return _count(fails)


SERVICES: list[Task[..., Any]] = [serves, serves_aside, falters]


def tree() -> Supervisor:
    """The tree. No module has it as a variable: clients start it."""
    return Supervisor(
        TREE,
        strategy="rest_for_one",
        **OFTEN,
        children=[
            child("first", serves, ready=True),
            child("aside", serves_aside, ready=True),
            Supervisor(
                "inner",
                strategy="one_for_all",
                **OFTEN,
                children=[child("a", falters, 0.02, ready=True), child("b", serves)],
            ),
            child("last", serves.options(pool=POOL)),
        ],
    )


#: The children that are tasks, by their paths in the tree.
PATHS = ("first", "aside", "inner/a", "inner/b", "last")


class TreeDeeds:
    """What a client does with the tree."""

    def __init__(self, call: Any, chance: random.Random, note: Callable[..., None]) -> None:
        self._call = call
        self._chance = chance
        self._note = note
        #: Whether this client has seen the tree.
        self.tended = False

    async def act(self) -> None:
        """One thing."""
        what = self._chance.choice(
            ["supervise", "restart_child", "restart_child", "terminate_child", "restart"]
        )
        if what == "supervise" or not self.tended:
            await self._call("supervise", tree())
            self._note("tree", "supervised", TREE)
            self.tended = True
            return
        path = self._chance.choice(PATHS)
        try:
            found = await self._call("tree_of", TREE)
            if what == "restart":
                await _done(found.restart())
            elif what == "terminate_child":
                # A child that has ended for good is another task when it is started again.
                self._note("tree", "terminating", f"{TREE}/{path}")
                await _done(found.terminate_child(path))
                await _done(found.restart_child(path))
            else:
                await _done(found.restart_child(path))
            self._note("tree", "acted", f"{TREE}/{path}")
        except (TreeNotFound, InvalidOption):
            # Nobody has started it yet, or its branch does not run just now.
            pass


async def _done(call: Any) -> None:
    if hasattr(call, "__await__"):
        await call


class Trees:
    """What is known of the tree at the end, by the journals of the clients, which have ended."""

    def __init__(self, folder: Path, fault: Callable[[str], None], tally: Counter[str]) -> None:
        self._fault = fault
        self._tally = tally
        rows = [
            json.loads(line)
            for path in folder.glob("client-*.journal")
            for line in path.read_text().splitlines(keepends=True)
            if line.startswith('["tree"') and line.endswith("\n")
        ]
        self._supervised = any(what == "supervised" for _, what, _ in rows)
        self._terminated = Counter(path for _, what, path in rows if what == "terminating")
        tally["trees: acted"] += sum(what in ("supervised", "acted") for _, what, _ in rows)

    def end(self, rt: Runtime, patience: float) -> None:
        """Each child is one task, and runs; then the tree stops, and all of them with it."""
        if TREE not in [each.id for each in rt.trees()]:
            if self._supervised:
                self._fault("the supervision tree is not there")
            return
        found = rt.tree_of(TREE)
        # Also those that a client had terminated, and did not start again.
        found.restart()
        states: dict[str, str] = {}
        deadline = time.monotonic() + patience
        while set((states := {path: found.child(path).state for path in PATHS}).values()) != {"running"}:
            if time.monotonic() > deadline:
                self._fault(f"children of the tree do not run: {states}; {found.status()}")
                break
            time.sleep(0.01)
        living = [
            row for each in SERVICES for row in rt.list(state=["queued", "running"], task=each, limit=1_000)
        ]
        if sorted(str(row.tree) for row in living) != sorted(f"{TREE}/{path}" for path in PATHS):
            self._fault(f"these are the children: {[(row.tree, row.id, row.state) for row in living]}")
        self._tally["trees: restarts"] += found.status().restarts
        found.stop()
        if found.wait(timeout=patience).state != "stopped":
            self._fault(f"the tree has not stopped: {found.status()}")
        rows = [row for each in SERVICES for row in rt.list(task=each, limit=1_000_000)]
        tasks = Counter(row.tree for row in rows)
        failed = Counter(row.tree for row in rows if row.state is State.FAILED)
        for path in PATHS:
            whole = f"{TREE}/{path}"
            often = self._terminated[whole]
            if tasks[whole] > 1 + often or failed[whole] > often:
                self._fault(
                    f"{whole} was {tasks[whole]} tasks, {failed[whole]} failed, and was terminated {often} times"
                )

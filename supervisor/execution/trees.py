"""Trees: supervision trees start, watch, restart and stop their children.

What is to be done with a child is a mark on its node, which is on disk in the commit of what caused it. After each
change `_advance` goes through one tree: children that are to be stopped are stopped in reverse, one after the other;
then those that are to be started are started in order, each when the one before is up. So an operation that the
supervisor's death cuts short goes on from its marks.

A child that is to be restarted never ends: `TaskTable` asks `keeps` before it ends a task of a tree, and `holds` before
it queues one again. A task that is held waits in a lane of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from ...actors.errors import UnderstudyError
from ...actors.state import Event, State
from ..rules.restart_window import noted
from ..rules.strategy import Exit, Step, after_exit, is_restarted
from ..rules.verdict import ErrorRow
from ..tasks.alarm import Alarm
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..tasks.live_task import LiveTask
from ..tasks.task_table import TaskTable
from .attempts import Attempts
from .child_starts import ChildStarts
from .forest import Forest
from .tree_nodes import KEEPS, STARTS, Branch, Leaf, Mark, Node
from .turns import Turns

log = logging.getLogger("understudy")

#: The ends of tasks that a tree may turn into a restart, and what kind of exit each is.
EXITS: Final = {Event.COMPLETE: Exit.NORMAL, Event.FAIL: Exit.ABNORMAL, Event.TIME_OUT: Exit.ABNORMAL}
NOT_READY: Final = "NotReady"
#: In how many runs a large tree starts, about. A tree of fewer than twice as many children starts them one by one.
RUNS: Final = 16


class Trees:
    """All supervision trees of a home."""

    def __init__(
        self,
        commits: CommitLoop,
        table: TaskTable,
        attempts: Attempts,
        turns: Turns,
        start_actor: Callable[[str, str, bytes | None, dict[str, Any] | None], bytes],
        turn: Callable[[], None],
    ) -> None:
        """`start_actor` gets or starts the actor of a class and name, with arguments and options; its id."""
        self._commits = commits
        self._clock = commits.clock
        self._table = table
        self._attempts = attempts
        self._turns = turns
        self._turn = turn
        self._loop = asyncio.get_running_loop()
        self.forest = Forest(commits)
        self.starts = ChildStarts(commits, table, self.forest, start_actor)
        #: Children that must be ready by a time, and nodes that may not start before one.
        self._waiting: dict[str, float] = {}
        self._alarm = Alarm(self._clock, self._look)
        #: Called when a top tree has ended: its path, why, and whether another one runs.
        self.on_ended: Callable[[str, str, bool], None] = lambda _path, _why, _others: None
        table.keeps = self._keeps
        table.holds = self._holds
        attempts.on_ready = self._begun
        table.ends.follow("tree", self._ended)

    # --- boot ---

    def load(self) -> None:
        """At boot, before the tasks: read the trees."""
        self.forest.load()

    def recover(self) -> None:
        """At boot, after the tasks: go on with what was under way."""
        for top in self.forest.top.values():
            for node in (top, *top.nodes()):
                if isinstance(node, Leaf):
                    self._recover(node)
            for node in (top, *top.nodes()):
                if isinstance(node, Branch):
                    self.starts.line_up(node)
            self.advance_all(top)

    def _recover(self, leaf: Leaf) -> None:
        task = None if leaf.task is None else self._table.find(leaf.task)
        if task is None:
            leaf.alive = leaf.up = False
            leaf.note_open()
            return
        if leaf.mark in KEEPS and not task.record.held and not task.rests:
            # Its last attempt ended with the supervisor.
            self._table.hold(task)
        if task.record.held:
            leaf.alive = leaf.up = False
            leaf.note_open()
        elif leaf.alive and not leaf.up:
            self._await_ready(leaf)

    def stop(self) -> None:
        """The supervisor stops: start nothing more. A drain is no exit."""
        self._alarm.stop()

    def clock_was_set(self) -> None:
        """The wall clock was set."""
        self._alarm.look()

    # --- going through a tree ---

    def advance_all(self, branch: Branch) -> None:
        """Advance a tree and all trees in it, the innermost ones first."""
        for node in branch.children.values():
            if isinstance(node, Branch):
                self.advance_all(node)
        self.advance(branch)

    def advance(self, branch: Branch) -> None:
        """Stop and start what is marked, as far as it goes without a wait."""
        if branch.advancing:
            return  # The loop below sees what has changed.
        branch.advancing = True
        try:
            while self._step(branch):
                pass
        finally:
            branch.advancing = False
        if branch.parent is not None and (branch.up or not branch.alive):
            self.advance(branch.parent)

    def _step(self, branch: Branch) -> bool:
        """One step; whether another one may follow at once."""
        last = branch.to_stop.first
        if last is not None:
            if last.stopping:
                self._end_stopping(last)
                return False
            self._stop(last)
            return not last.alive
        over = branch.to_end.first
        if over is not None:
            self._end_held(over)
            if over.mark is Mark.DELETE:
                self.forest.remove(over)
            else:
                self.forest.mark(over, Mark.NONE)
            return True
        if branch.ending or not branch.alive:
            if branch.alive:
                self._down(branch)
            return False
        return self._start_next(branch)

    def _start_next(self, branch: Branch) -> bool:
        """Start the first child that is to be started, if those before it are up; whether another step may follow."""
        now = self._clock.time()
        for node in branch.pausing:
            if node.not_before > now:
                self._wait_until(node, node.not_before)
            else:
                node.not_before = 0.0
                node.note_open()
        # Nothing else depends on a child that pauses if each is restarted by itself.
        paused = None if branch.spec["strategy"] == "one_for_one" else branch.pausing.first
        waiting = [node for node in (branch.starting.first, branch.to_start.first, paused) if node]
        if waiting:
            first = min(waiting, key=_place)
            if first is not branch.to_start.first:
                return False
            if isinstance(first, Leaf):
                first.behind = None
            self.start(first)
            if len(waiting) == 1 and not first.up:
                self._start_behind(first)
            return first.up
        if not branch.up and not branch.pausing:
            branch.up = True
            self.forest.save(branch)
        return False

    # --- starting ---

    def start(self, node: Node) -> None:
        """Start a child or a tree that is not alive."""
        replaced, node.mark = node.mark is Mark.REPLACE, Mark.NONE
        node.alive, node.up, node.stopping, node.not_before = True, False, False, 0.0
        if isinstance(node, Branch):
            self._start_all(node)
            self.advance(node)
        elif isinstance(node, Leaf):
            if replaced:
                self._end_held(node)
            try:
                self.starts.start(node)
                if not node.up:
                    self._await_ready(node)
            except UnderstudyError as error:
                log.warning("child %s cannot be started: %s", node.path, error)
                self._leaf_down(node)
                self._exited(node, Exit.ABNORMAL, f"{type(error).__name__}: {error}")
                self._later(node.branch)
            self.forest.save(node)

    def _start_behind(self, first: Node) -> None:
        """Start the children behind this one together with it, as far as they will begin in their order.

        They are a run: it takes one round of commit, dispatch and report, instead of one for each of them. A run is a
        small part of the tree, so that a large tree spreads over the workers.
        """
        branch, last, lane = first.parent, first, self.starts.lane_of(first)
        if branch is None or lane is None:
            return
        for _ in range(len(branch.children) // RUNS - 1):
            following = branch.to_start.first
            if following is None or self.starts.lane_of(following) is not lane:
                break
            if not last.alive or last.spec["ready"]:
                break
            assert isinstance(last, Leaf)
            assert isinstance(following, Leaf)  # nothing else has a lane
            following.behind = last
            self.start(following)
            last = following

    def _await_ready(self, leaf: Leaf) -> None:
        if leaf.spec["ready"]:
            self._wait_until(leaf, self._clock.time() + leaf.spec["start_timeout"])

    def _begun(self, task: LiveTask, ready: bool) -> None:
        """A child has begun, or says that it is ready."""
        leaf = self.forest.by_task.get(task.id)
        if leaf is None or leaf.up or not leaf.alive or (leaf.spec["ready"] and not ready):
            return
        leaf.up, leaf.behind = True, None
        self._waiting.pop(leaf.path, None)
        self.forest.save(leaf)
        self.advance(leaf.branch)

    # --- stopping ---

    def forget_at_once(self, node: Node) -> None:
        """Stop a node at once, out of turn: another one takes its path."""
        for leaf in [node, *(node.nodes() if isinstance(node, Branch) else ())]:
            if isinstance(leaf, Leaf) and leaf.task is not None:
                self.forest.by_task.pop(leaf.task, None)
                task = self._table.find(leaf.task)
                if task is not None:
                    self._attempts.stop(task, leaf.shutdown, ends=True)
        self.forest.remove(node)

    def _stop(self, node: Node) -> None:
        """Stop a child or a tree that is alive."""
        node.stopping = True
        keep = node.mark in KEEPS
        if isinstance(node, Branch):
            node.ending = node.ending or "stopped"
            for each in node.children.values():
                self.forest.mark(each, Mark.HOLD if keep else Mark.END)
            self.forest.save(node)
            self.advance(node)
        elif isinstance(node, Leaf):
            task = None if node.task is None else self._table.find(node.task)
            if task is None:
                self._leaf_down(node)
            elif isinstance(task, LiveActor) and keep:
                # Its object is built anew by its next message.
                self._turns.build_anew(task)
                self._leaf_down(node)
            else:
                self._attempts.stop(task, node.shutdown, ends=not keep)
                if task.record.held:
                    self._leaf_down(node)

    def _end_stopping(self, node: Node) -> None:
        """If a child is being stopped to be started again, and is to end for good by now, let it end as cancelled."""
        if not isinstance(node, Leaf) or node.task is None or node.mark in KEEPS:
            return
        task = self._table.find(node.task)
        if task is not None and not isinstance(task, LiveActor) and not task.record.cancel:
            task.record.cancel = True
            self._table.touch(task)

    def _leaf_down(self, leaf: Leaf) -> None:
        leaf.alive = leaf.up = leaf.stopping = False
        self._waiting.pop(leaf.path, None)
        self.forest.save(leaf)

    def _end_held(self, node: Node) -> None:
        """End the tasks below this node that are held and will not be started again."""
        for each in [node, *(node.nodes() if isinstance(node, Branch) else ())]:
            task = self._table.find(each.task) if isinstance(each, Leaf) and each.task is not None else None
            if task is None or not task.record.held:
                continue
            failed = each.exit is not None and each.exit[0] == Exit.ABNORMAL
            task.record.held = False
            if failed:
                self._table.end(task, Event.FAIL, error=task.record.error)
            else:
                self._table.end(task, Event.CANCEL)

    def _down(self, branch: Branch) -> None:
        """All children of a tree that ends are down."""
        why = branch.ending
        branch.alive = branch.up = branch.stopping = False
        asked = branch.mark is not Mark.NONE
        branch.exit = (
            str(Exit.ABNORMAL if why == "failed" else Exit.SHUTDOWN if why == "stopped" else Exit.NORMAL),
            why,
            self._clock.time(),
        )
        self.forest.save(branch)
        if branch.parent is None:
            self._end_held(branch)
            if branch.mark is Mark.DELETE:
                self.forest.remove(branch)
            log.log(
                logging.ERROR if why == "failed" else logging.INFO,
                "supervision tree %s: %s",
                branch.path,
                why,
            )
            self.on_ended(branch.path, why, any(top.alive for top in self.forest.top.values()))
        elif not asked:
            self._follow(branch, Exit(branch.exit[0]))
            if branch.mark not in STARTS:
                self._end_held(branch)

    def start_again(self, branch: Branch) -> None:
        """Start a top tree that has ended. One that ends just now stops its children, and starts them again."""
        branch.mark = Mark.NONE
        if not branch.alive:
            self.start(branch)
        elif branch.ending:
            self._start_all(branch)

    def _start_all(self, branch: Branch) -> None:
        """Let all children of a tree be stopped if they are alive, and started; its restarts count from 0."""
        branch.ending, branch.window = "", ()
        for each in branch.children.values():
            if each.mark is not Mark.REPLACE:
                self.forest.mark(each, Mark.RESTART)
        self.forest.save(branch)

    def end(self, branch: Branch, why: str) -> None:
        """End a tree: its children are stopped in reverse."""
        if branch.alive:
            self._mark_end(branch, why)
            self.advance(branch)

    def _mark_end(self, branch: Branch, why: str) -> None:
        branch.ending = why
        # The tree above may start a nested one again; then the tasks go on.
        keeps = branch.parent is not None and branch.mark is Mark.NONE
        for each in branch.children.values():
            self.forest.mark(each, Mark.HOLD if keeps else Mark.END)
        self.forest.save(branch)

    def _later(self, branch: Branch) -> None:
        """Go through a tree after what is going on now: a task of it is just about to change."""
        self._loop.call_soon(self._go_on, branch)

    def _go_on(self, branch: Branch) -> None:
        try:
            self.advance(branch)
        except Exception:
            log.exception("supervision tree %s cannot go on", branch.path)
        self._turn()

    # --- exits ---

    def _keeps(self, task: LiveTask, event: Event, error: ErrorRow | None) -> bool:
        """Before a task of a tree ends: whether it is held for another attempt instead."""
        leaf = self.forest.by_task.get(task.id)
        if leaf is None or not leaf.alive or event not in EXITS or task.rests:
            return False
        if task.record.state is not State.RUNNING:
            return False
        if leaf.mark in KEEPS:
            return True
        if leaf.mark is not Mark.NONE:
            return False
        return self._exited(leaf, EXITS[event], _reason_of(event, error))

    def _holds(self, task: LiveTask) -> bool:
        """Before a task of a tree is queued again: whether its tree has stopped it, and will start it again."""
        leaf = self.forest.by_task.get(task.id)
        if leaf is None or leaf.mark not in KEEPS:
            return False
        if leaf.alive:
            self._leaf_down(leaf)
            self._later(leaf.branch)
        return True

    def _ended(self, task: LiveTask, event: Event, error: ErrorRow | None) -> None:
        """A task of a tree has ended for good."""
        leaf = self.forest.by_task.pop(task.id, None)
        if leaf is None:
            return
        leaf.task = None
        was_alive = leaf.alive
        if event is Event.CANCEL and leaf.mark is Mark.RESTART and leaf.not_before and not was_alive:
            # Somebody has cancelled it in the pause before its restart.
            leaf.mark, was_alive = Mark.NONE, True
        expected = leaf.mark is not Mark.NONE
        if expected and event is Event.CANCEL:
            leaf.exit = (str(Exit.SHUTDOWN), "stopped by its tree", self._clock.time())
        self._leaf_down(leaf)
        if was_alive and not expected:
            self._exited(leaf, EXITS.get(event, Exit.SHUTDOWN), _reason_of(event, error))
        self._later(leaf.branch)

    def _exited(self, node: Node, how: Exit, reason: str) -> bool:
        """A child has ended that nobody had asked to; whether it is to be restarted."""
        node.exit = (str(how), reason, self._clock.time())
        self._follow(node, how)
        self.forest.save(node)
        return node.mark in KEEPS

    def _follow(self, node: Node, how: Exit) -> None:
        """Mark what follows from the exit of a child."""
        branch = node.parent
        assert branch is not None
        if branch.ending or not branch.alive:
            return
        now, spec = self._clock.time(), branch.spec
        too_many = False
        if is_restarted(node.spec["restart"], how):
            branch.window, too_many = noted(branch.window, now, spec["intensity"], spec["period"])
        decision = after_exit(
            branch.members(),
            node.id,
            how,
            strategy=spec["strategy"],
            auto_shutdown=spec["auto_shutdown"],
            too_many=too_many,
        )
        if decision.step is Step.RESTART:
            node.restarts += 1
            log.info(
                "supervision tree %s: %s has ended (%s) and is restarted", branch.path, node.id, _told(node)
            )
            for id in decision.start:
                self.forest.mark(branch.children[id], Mark.RESTART)
            for id in decision.drop:
                self.forest.mark(branch.children[id], Mark.END)
            if branch.backoff is not None:
                node.not_before = now + branch.backoff.wait(len(branch.window) - 1)
                node.note_open()
        elif decision.step is not Step.LEAVE:
            if decision.step is Step.GIVE_UP:
                log.error(
                    "supervision tree %s gives up: more than %d restarts within %g s, the last one of %s (%s)",
                    branch.path, spec["intensity"], spec["period"], node.id, _told(node),
                )  # fmt: skip
            self._mark_end(branch, "failed" if decision.step is Step.GIVE_UP else "completed")
            self._later(branch)
        self.forest.save(branch)

    # --- time ---

    def _wait_until(self, node: Node, at: float) -> None:
        self._waiting[node.path] = at
        self._alarm.set(min(self._waiting.values()))

    def _look(self) -> None:
        """Look after children that should have been ready, and nodes whose pause is over."""
        now = self._clock.time()
        for path in [path for path, at in self._waiting.items() if at <= now]:
            del self._waiting[path]
            node = self.forest.find(path)
            if node is None:
                continue
            if isinstance(node, Leaf) and node.alive and not node.up:
                self._not_ready(node)
            elif node.parent is not None:
                self.advance(node.parent)
        if self._waiting:
            self._alarm.set(min(self._waiting.values()))
        self._turn()

    def _not_ready(self, leaf: Leaf) -> None:
        """A child has not said in time that it is ready: it has failed."""
        task = None if leaf.task is None else self._table.find(leaf.task)
        if task is None or leaf.mark is not Mark.NONE:
            return
        seconds = leaf.spec["start_timeout"]
        leaf.up = True  # So that it does not hold up what follows.
        if not self._exited(leaf, Exit.ABNORMAL, f"{NOT_READY}: not ready within {seconds:g} s"):
            self.forest.mark(leaf, Mark.END)
        self.advance(leaf.branch)


def _place(node: Node) -> int:
    return node.place


def _told(node: Node) -> str:
    """How it has ended, for the log."""
    how, reason, _ = node.exit or ("", "", 0.0)
    return f"{how}: {reason}" if reason else how


def _reason_of(event: Event, error: ErrorRow | None) -> str:
    """Why a child has ended, in one line."""
    if error is None:
        return {Event.COMPLETE: "returned", Event.CANCEL: "cancelled"}.get(event, str(event))
    return f"{error[0]}: {error[1]}".partition("\n")[0][:500]

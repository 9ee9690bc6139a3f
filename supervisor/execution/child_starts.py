"""ChildStarts: the children of supervision trees that are tasks and actors start, and begin in their order.

Children that were started together are a *run*: each of them is `behind` another one, and the dispatcher asks `before`
which task has to begin before one of them. A worker begins the async tasks that it is handed one after the other, in
their order. So those of a run go to one worker together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...storage.tables.record import EXTRAS, Record
from ...storage.tables.schema import Table
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_task import LiveTask
from ..tasks.pool_lanes import AnyLane
from ..tasks.task_table import TaskTable
from .forest import Forest
from .tree_nodes import STARTS, Branch, Leaf, Mark, Node

StartActor = Callable[[str, str, bytes | None, dict[str, Any] | None], bytes]
"""Gets or starts the actor of a class and name, with arguments and options; its id."""


class ChildStarts:
    """Gives each child its task or actor."""

    def __init__(
        self, commits: CommitLoop, table: TaskTable, forest: Forest, start_actor: StartActor
    ) -> None:
        self._commits = commits
        self._table = table
        self._forest = forest
        self._start_actor = start_actor
        #: Called with a task whose next attempt begins from the start.
        self.on_anew: Callable[[LiveTask], None] = lambda _: None

    def start(self, leaf: Leaf) -> None:
        """Queue the task that a child has, or a new one. An actor is up at once. Raises what its start raises."""
        spec = leaf.spec
        name = self._table.declared.present(spec["task"])
        task = self._task_of(leaf)
        if name in self._table.declared.actors:
            self._forest.own(leaf, self._start_actor(name, leaf.path, spec["args"], spec["options"]))
            leaf.up = True
        elif task is not None and task.record.held:
            if spec["fresh"]:
                self._forget_work(task)
            self._table.restart(task)
        else:
            record = self._new_record(leaf)
            self._forest.own(leaf, record.id)
            self._table.add([(record, spec["args"])])

    def _task_of(self, leaf: Leaf) -> LiveTask | None:
        return None if leaf.task is None else self._table.find(leaf.task)

    def _new_record(self, leaf: Leaf) -> Record:
        """The record of a new task of a child."""
        spec, id = leaf.spec, self._commits.clock.new_id()
        options = spec["options"]
        metadata = None if options is None else options.get("metadata")
        options = {key: value for key, value in (options or {}).items() if key not in EXTRAS} or None
        name = self._table.declared.present(spec["task"])
        record = Record(id, name, self._commits.clock.time(), id, None, options)
        record.tree = leaf.path
        if metadata:
            record.metadata = metadata
        return record

    def _forget_work(self, task: LiveTask) -> None:
        """Let the next attempt begin from the start."""
        if task.record.checkpoint is not None:
            self._commits.delete(Table.CHECKPOINTS, task.id)
            task.record.checkpoint = None
        if task.steps is not None:
            task.steps.drop(task.record)
            task.steps = None
            self.on_anew(task)

    # --- runs ---

    def lane_of(self, node: Node) -> AnyLane | None:
        """The lane in which a child's task waits for a worker, if that worker begins one task after the other."""
        if not isinstance(node, Leaf):
            return None
        declared = self._table.declared
        task = self._task_of(node)
        replaced = node.mark is Mark.REPLACE
        record = self._new_record(node) if task is None or replaced else task.record
        if record.name in declared.actors or record.name in declared.limits:
            return None
        lane = declared.options_of(record)[1]
        return lane if lane in declared.loops else None

    def before(self, task: LiveTask) -> bytes | None:
        """The task that has to begin before this one, a child of a tree; None if it may begin. b"" if that one has
        ended, and another one is to be started in its place."""
        leaf = self._forest.by_task.get(task.id)
        first = None if leaf is None else leaf.behind
        while first is not None and not self._is_to_begin(first):
            first = first.behind
        return None if first is None else first.task or b""

    def _is_to_begin(self, leaf: Leaf) -> bool:
        """Whether a child has not begun, and will."""
        if leaf.up or not (leaf.alive or (leaf.mark in STARTS and not leaf.not_before)):
            return False
        task = self._task_of(leaf)
        # The report of a begin may be late, if the task keeps its worker busy. Then the dispatcher has seen the begin.
        return task is None or task.attempt is None or not task.attempt.shown

    def line_up(self, branch: Branch) -> None:
        """At boot: let those begin in their order that were started together."""
        last = None
        for node in branch.children.values():
            if isinstance(node, Leaf) and node.alive and not node.up:
                node.behind, last = last, node

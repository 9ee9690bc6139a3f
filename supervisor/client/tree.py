"""`Tree`, the handle on a supervision tree that runs, and `Supervising`, which gives it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Final

from ...actors.errors import TaskNotFound
from ...actors.refs.ref import ActorRef
from ...actors.task.handles import TaskInfo
from ...actors.trees.child import ChildSpec
from ...actors.trees.status import ChildStatus, TreeStatus
from ...actors.trees.supervisor import Supervisor
from .runtime_part import RuntimePart
from .tree_calls import TreeCalls, path_of
from .tree_views import tree_state

#: The states in which a tree has ended.
ENDED: Final = ("stopped", "failed")
#: Seconds between two looks at the store while a program waits for that, at first and at most.
SHORTEST_LOOK: Final = 0.001
LONGEST_LOOK: Final = 0.02


class Supervising(RuntimePart):
    """The part of a runtime that starts supervision trees and finds them."""

    _trees: TreeCalls

    def supervise(self, tree: Supervisor, *, timeout: float | None = None) -> Tree:
        """Start a supervision tree; returns when it is on disk, while its children start.

        If there is one with its id, it becomes this one: children whose specs have not changed go on, changed ones are
        restarted, missing ones stopped, new ones started. Raises InvalidOption, InvalidTask, UnknownTask, TypeError for
        arguments that do not fit a task, UnencodableValue.
        """
        deadline = self._deadline(timeout)
        return Tree(self, self._do(self._trees.supervise(deadline, tree), deadline))

    def tree_of(self, id: str) -> Tree:
        """The top tree with this id. Raises TreeNotFound."""
        self._trees.node(id)
        return Tree(self, id)

    def trees(self) -> list[TreeStatus]:
        """All top trees, those that have ended as well, read from disk."""
        return self._trees.trees()


class Tree:
    """A supervision tree. Children are named by their paths within it: "feed", or "workers/w1"."""

    def __init__(self, runtime: Supervising, id: str) -> None:
        self._runtime = runtime
        self.id = id

    def __repr__(self) -> str:
        return f"<tree {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and (self.id, self._runtime) == (other.id, other._runtime)

    def __hash__(self) -> int:
        return hash(self.id)

    # --- looking ---

    def status(self) -> TreeStatus:
        """Its state and that of all children, read from disk."""
        found = self._runtime._trees.status(self.id)
        assert isinstance(found, TreeStatus)
        return found

    def child(self, path: str) -> ChildStatus:
        """The state of one child, read from disk. Raises TreeNotFound."""
        found = self._runtime._trees.status(path_of(self.id, path))
        assert isinstance(found, ChildStatus)
        return found

    def info(self, path: str) -> TaskInfo[Any] | ActorRef[Any]:
        """The handle on a child's task, or the reference to its actor.

        Raises TreeNotFound, and TaskNotFound for a child that has ended, or is a tree.
        """
        whole = path_of(self.id, path)
        row = self._runtime._trees.node(whole)
        if row.task is None:
            raise TaskNotFound(f"child {whole} has no task now: see status()")
        runtime: Any = self._runtime
        ref = runtime.lookup(row.spec["task"], whole)
        if ref is not None:
            found: ActorRef[Any] = ref
            return found
        return TaskInfo(row.task, row.task, row.spec["task"], None, runtime)

    # --- changing ---

    def start_child(self, spec: ChildSpec | Supervisor, *, timeout: float | None = None) -> str:
        """Add a child behind the others and start it; its path within the tree. Raises InvalidOption as `supervise`.

        It stays until it is deleted, or `supervise` gives the tree a new spec.
        """
        deadline = self._runtime._deadline(timeout)
        path = self._runtime._do(self._runtime._trees.start_child(deadline, self.id, spec), deadline)
        return path.removeprefix(f"{self.id}/")

    def terminate_child(self, path: str, *, timeout: float | None = None) -> None:
        """Stop a child and leave it stopped. Returns when that is on disk, before the child has stopped."""
        self._act(path_of(self.id, path), "terminate", timeout)

    def restart_child(self, path: str, *, timeout: float | None = None) -> None:
        """Start a child that has ended; one that runs is stopped first, and goes on with its next attempt."""
        self._act(path_of(self.id, path), "restart", timeout)

    def delete_child(self, path: str, *, timeout: float | None = None) -> None:
        """Forget a child that has ended. Raises InvalidOption for one that runs."""
        self._act(path_of(self.id, path), "delete", timeout)

    def stop(self, *, timeout: float | None = None) -> None:
        """Stop all children, in reverse, and leave the tree stopped. Returns at once; see `wait`."""
        self._act(self.id, "stop", timeout)

    def restart(self, *, timeout: float | None = None) -> None:
        """Stop all children that run, in reverse, and start all of them, in order."""
        self._act(self.id, "restart", timeout)

    def _act(self, path: str, what: str, timeout: float | None) -> None:
        deadline = self._runtime._deadline(timeout)
        self._runtime._do(self._runtime._trees.act(deadline, path, what), deadline)

    def wait(self, timeout: float | None = None) -> TreeStatus:
        """Wait until the tree has stopped or failed. TimeoutError after `timeout` seconds."""
        deadline = self._runtime._deadline(timeout)
        pause = SHORTEST_LOOK
        # Only its own row is read, until it has ended: it may have many children.
        while (state := tree_state(self._runtime._trees.node(self.id))) not in ENDED:
            left = deadline.left()
            if left is not None and left <= 0:
                raise TimeoutError(f"tree {self.id} is {state} after {timeout:g} s")
            self._runtime._client.clock.wait(Future(), pause if left is None else min(pause, left))
            pause = min(2 * pause, LONGEST_LOOK)
        return self.status()

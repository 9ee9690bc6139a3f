"""The requests of clients that concern supervision trees, and the trees of the app."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ...actors.errors import InvalidOption
from ...storage.tables.actor_rows import ACTOR_NAME_BYTES
from ...storage.tables.tree_rows import PATH_BYTES
from ..execution.tree_nodes import STARTS, Branch, Mark, Node, spec_of
from ..execution.trees import Trees
from ..tasks.catalog import TaskCatalog
from ..wire.spec_checks import check_spec
from .admission import Admission

log = logging.getLogger("understudy")


class TreeRequests:
    """Starts trees, changes them, and carries out what is asked of one. Errors are raised before any change."""

    def __init__(
        self, trees: Trees, declared: TaskCatalog, admission: Admission, turn: Callable[[], None]
    ) -> None:
        self._trees = trees
        self._forest = trees.forest
        self._declared = declared
        self._admission = admission
        self._turn = turn

    def supervise(self, packed: Any, *, declared: bool = False) -> None:
        """Start this tree, or change the one of its id into it.

        By path: what has not changed goes on, what has is restarted, what is gone is stopped, what is new is started.
        """
        check_spec(packed)
        if "strategy" not in packed:
            raise InvalidOption("a child alone is no tree: put it into a Supervisor")
        self._check(packed, packed["id"])
        there = self._forest.top.get(packed["id"])
        if there is None:
            there = self._branch(self._forest.make(packed["id"], None, 0, packed))
            there.declared = declared
            self._trees.start(there)
        else:
            there.declared = declared
            self._change(there, packed)
            # One that was stopped by hand stays so. One that ends because it had gone from the app is there again.
            if there.ending != "stopped" or there.mark is Mark.DELETE:
                self._trees.start_again(there)
        self._forest.save(there)
        self._trees.advance_all(there)
        self._turn()

    def declare(self, packed: Iterable[dict[str, Any]]) -> None:
        """The app has these top trees: start or change them, and stop those that it had and has no more."""
        ids = set()
        for tree in packed:
            ids.add(tree["id"])
            try:
                self.supervise(tree, declared=True)
            except Exception:
                log.exception("supervision tree %s is not started", tree["id"])
        for top in list(self._forest.top.values()):
            if top.declared and top.id not in ids:
                log.warning("supervision tree %s is not in the app any more: it is stopped", top.id)
                if top.alive:
                    top.mark = Mark.DELETE
                    self._trees.end(top, "stopped")
                else:
                    self._forest.remove(top)
        self._turn()

    def act(self, path: Any, what: Any, *args: Any) -> Any:
        """Carry out a request about one tree or child: see `Ask.BRANCH`."""
        node = self._forest.known(path)
        actions: dict[str, Callable[..., Any]] = {
            "start": self._start_child,
            "terminate": self._terminate,
            "restart": self._restart_child,
            "delete": self._delete,
            "stop": self._stop_tree,
        }
        if what not in actions:
            raise InvalidOption(f"no action on a tree is called {what!r:.40}")
        answer = actions[what](node, *args)
        self._turn()
        return answer

    def _start_child(self, node: Node, packed: Any) -> str:
        branch = self._branch(node)
        check_spec(packed)
        path = f"{branch.path}/{packed['id']}"
        if packed["id"] in branch.children:
            raise InvalidOption(f"tree {branch.path} has a child {packed['id']} already")
        self._check(packed, path)
        place = max((each.place for each in branch.children.values()), default=-1) + 1
        made = self._forest.make(path, branch, place, packed)
        if branch.alive and not branch.ending:
            self._forest.mark(made, Mark.RESTART)
            self._trees.advance(branch)
        return path

    def _terminate(self, node: Node) -> None:
        branch = self._parent(node, "terminated")
        self._forest.mark(node, Mark.END)
        self._trees.advance(branch)

    def _restart_child(self, node: Node) -> None:
        """Of a whole tree, its children are stopped in reverse and started in order."""
        if node.parent is None:
            branch = self._branch(node)
            self._trees.start_again(branch)
            for each in branch.children.values():
                self._forest.mark(each, Mark.RESTART)
            self._trees.advance_all(branch)
            return
        if not node.parent.alive:
            raise InvalidOption(f"tree {node.parent.path} does not run: restart it first")
        node.not_before = 0.0
        self._forest.mark(node, Mark.RESTART)
        self._trees.advance(node.parent)

    def _delete(self, node: Node) -> None:
        branch = self._parent(node, "deleted")
        if node.alive:
            raise InvalidOption(f"child {node.path} has not ended: terminate it first")
        self._forest.mark(node, Mark.DELETE)
        self._trees.advance(branch)

    def _stop_tree(self, node: Node) -> None:
        if node.parent is None:
            branch = self._branch(node)
            self._trees.end(branch, "stopped")
            if not branch.alive:
                # It has failed, or has ended by itself: the next `serve` or `supervise` does not start it again.
                branch.ending = "stopped"
                self._forest.save(branch)
        else:
            self._terminate(node)

    def _branch(self, node: Node) -> Branch:
        if not isinstance(node, Branch):
            raise InvalidOption(f"{node.path} is a child without children of its own")
        return node

    def _parent(self, node: Node, what: str) -> Branch:
        if node.parent is None:
            raise InvalidOption(f"{node.path} is a whole tree and is not {what}: stop it")
        return node.parent

    # --- specs ---

    def _check(self, packed: Any, path: str) -> None:
        """Raise the error of a spec that cannot be started, before anything is changed."""
        if len(path.encode()) > PATH_BYTES:
            raise InvalidOption(f"the path {path:.80}… has more than {PATH_BYTES} bytes")
        if "strategy" in packed:
            for each in packed["children"]:
                self._check(each, f"{path}/{each['id']}")
            return
        name = self._declared.present(packed["task"])
        self._admission.check_declared(name)
        self._admission.check_options(name, packed.get("options"))
        if name in self._declared.actors and len(path.encode()) > ACTOR_NAME_BYTES:
            raise InvalidOption(
                f"the path {path:.80}… names an actor, and has more than {ACTOR_NAME_BYTES} bytes"
            )

    def _change(self, branch: Branch, packed: dict[str, Any]) -> None:
        """Make the spec of a tree what it is now."""
        branch.spec = spec_of(packed)
        wanted = {each["id"]: each for each in packed["children"]}
        for node in list(branch.children.values()):
            new = wanted.get(node.id)
            if new is None or ("strategy" in new) != isinstance(node, Branch):
                self._forest.mark(node, Mark.DELETE)
        for number, new in enumerate(packed["children"]):
            there = branch.children.get(new["id"])
            if there is None or there.mark is Mark.DELETE:
                path = f"{branch.path}/{new['id']}"
                if there is not None:
                    # A child has become a tree, or the reverse: the old one is stopped under its old id.
                    self._trees.forget_at_once(there)
                made = self._forest.make(path, branch, number, new)
                if branch.alive:
                    self._forest.mark(made, Mark.RESTART)
                continue
            there.place = number
            if isinstance(there, Branch):
                self._change(there, new)
            elif there.spec != new:
                there.spec = new
                if there.alive or there.mark in STARTS or there.mark is Mark.HOLD:
                    there.mark = Mark.REPLACE
            self._forest.save(there)
        branch.sort()
        self._forest.save(branch)

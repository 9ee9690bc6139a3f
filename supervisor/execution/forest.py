"""Forest: the nodes of all supervision trees, in memory and on disk."""

from __future__ import annotations

import logging
from typing import Any

from ...actors.errors import InvalidOption, TreeNotFound
from ...storage.tables.schema import Table
from ...storage.tables.tree_rows import MARKS, NodeRow, all_nodes, node_key, path_in
from ..tasks.commit_loop import CommitLoop
from .tree_nodes import Branch, Leaf, Mark, Node, spec_of

log = logging.getLogger("understudy")


class Forest:
    """Finds nodes, and writes each change of one with the next commit."""

    def __init__(self, commits: CommitLoop) -> None:
        self._commits = commits
        #: The top trees, by id.
        self.top: dict[str, Branch] = {}
        #: The children, by the ids of their tasks.
        self.by_task: dict[bytes, Leaf] = {}

    def load(self) -> None:
        """Read all of them from disk."""
        nodes: dict[str, Node] = {}
        for key, packed in self._commits.scan(Table.ACTORS, *all_nodes()):
            try:
                path, row = path_in(key), NodeRow.unpack(packed)
                parent = nodes.get(path.rpartition("/")[0])
                if "/" in path and not isinstance(parent, Branch):
                    raise ValueError("it is in no tree")
                if row.mark not in MARKS:
                    raise ValueError(f"it has the unknown mark {row.mark!r:.80}")
            except ValueError:
                log.exception("a row of a supervision tree is damaged")
                continue
            assert parent is None or isinstance(parent, Branch)
            nodes[path] = self._take_in(path, parent, row)
        for node in nodes.values():
            if isinstance(node, Branch):
                node.sort()

    def known(self, path: Any) -> Node:
        """The node with this path. TreeNotFound; InvalidOption for what is no path."""
        if not isinstance(path, str):
            raise InvalidOption(f"a tree or a child is named by its path, not by {path!r:.80}")
        node = self.find(path)
        if node is None:
            raise TreeNotFound(f"there is no tree or child {path!r:.200}", path)
        return node

    def find(self, path: str) -> Node | None:
        """The node with this path, or None."""
        first, *rest = path.split("/")
        node: Node | None = self.top.get(first)
        for id in rest:
            node = node.children.get(id) if isinstance(node, Branch) else None
        return node

    def make(self, path: str, parent: Branch | None, place: int, packed: dict[str, Any]) -> Node:
        """A new node of this spec, with all that is in it."""
        node = self._take_in(path, parent, NodeRow(place, spec_of(packed)))
        if isinstance(node, Branch):
            for number, each in enumerate(packed["children"]):
                self.make(f"{path}/{each['id']}", node, number, each)
        self.save(node)
        return node

    def _take_in(self, path: str, parent: Branch | None, row: NodeRow) -> Node:
        node: Node
        if row.is_tree:
            node = Branch(path, parent, row)
            if parent is None:
                self.top[path] = node
        else:
            assert parent is not None
            node = Leaf(path, parent, row)
            if node.task is not None:
                self.by_task[node.task] = node
        if parent is not None:
            parent.children[node.id] = node
            node.note_open()
        return node

    def own(self, leaf: Leaf, id: bytes) -> None:
        """This task is the child's from now on."""
        if leaf.task is not None:
            self.by_task.pop(leaf.task, None)
        leaf.task = id
        self.by_task[id] = leaf

    def mark(self, node: Node, mark: Mark) -> None:
        """Say what is to be done with a node."""
        if node.mark is Mark.DELETE and mark is not Mark.DELETE:
            return  # It is gone from the spec.
        node.mark = mark
        self.save(node)

    def save(self, node: Node) -> None:
        """Write a node that has changed."""
        self._commits.put(Table.ACTORS, node_key(node.path), node.row().pack())
        node.note_open()

    def remove(self, node: Node) -> None:
        """Forget a node and all that is in it."""
        for each in [*(node.nodes() if isinstance(node, Branch) else ()), node]:
            if isinstance(each, Leaf) and each.task is not None:
                self.by_task.pop(each.task, None)
            self._commits.delete(Table.ACTORS, node_key(each.path))
        if node.parent is None:
            self.top.pop(node.path, None)
        else:
            node.parent.forget(node)

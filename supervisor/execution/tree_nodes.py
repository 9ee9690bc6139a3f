"""The nodes of supervision trees in memory: `Leaf`, a child, and `Branch`, a tree."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from ...actors.task.retry import Retry
from ...storage.tables.tree_rows import NodeRow
from ..rules.strategy import Member


class Mark(StrEnum):
    """What is to be done with a node. It is on disk, so that it is done also after the supervisor's death."""

    NONE = ""
    RESTART = "restart"
    """Stop it if it is alive, and start it again: the same task, its next attempt."""
    REPLACE = "replace"
    """Stop it for good, and start it with what its spec says now: a new task."""
    HOLD = "hold"
    """Stop it; its task waits until the tree is started again."""
    END = "end"
    """Stop it for good."""
    DELETE = "delete"
    """Stop it for good, and forget it."""


STARTS = frozenset({Mark.RESTART, Mark.REPLACE})
"""The marks of nodes that are to be started."""
ENDS = frozenset({Mark.END, Mark.DELETE})
"""The marks of nodes that end for good."""
KEEPS = frozenset({Mark.RESTART, Mark.HOLD})
"""The marks of nodes whose tasks go on with another attempt."""


#: Entries of a heap that may be gone before it is made anew.
_GONE: Final = 64


class ByPlace:
    """Some children of one tree, of which the first or the last by place is found quickly."""

    def __init__(self, *, last: bool = False) -> None:
        self._sign = -1 if last else 1
        self._nodes: dict[str, Node] = {}
        #: Signed places and ids. Those that are not in `_nodes` with this place are gone.
        self._heap: list[tuple[int, str]] = []

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        """All of them, in no order."""
        return iter(list(self._nodes.values()))

    def add(self, node: Node) -> None:
        """Let a child be among them that is not."""
        self._nodes[node.id] = node
        heapq.heappush(self._heap, (self._sign * node.place, node.id))
        if len(self._heap) > 2 * len(self._nodes) + _GONE:
            self.sort()

    def discard(self, node: Node) -> None:
        """Let a child not be among them any more."""
        self._nodes.pop(node.id, None)

    def sort(self) -> None:
        """Places have changed."""
        self._heap = [(self._sign * node.place, id) for id, node in self._nodes.items()]
        heapq.heapify(self._heap)

    @property
    def first(self) -> Node | None:
        """The one whose turn it is; None if there is none."""
        heap, nodes = self._heap, self._nodes
        while heap:
            place, id = heap[0]
            node = nodes.get(id)
            if node is not None and node.place == self._sign * place:
                return node
            heapq.heappop(heap)
        return None


class Node:
    """What children and trees have in common."""

    def __init__(self, path: str, parent: Branch | None, row: NodeRow) -> None:
        self.path = path
        self.parent = parent
        self.place = row.place
        self.spec = row.spec
        self.mark = Mark(row.mark)
        self.alive = row.alive
        self.up = row.up
        self.restarts = row.restarts
        self.exit = row.exit
        #: Whether it has been asked to stop since it is alive.
        self.stopping = False
        #: The earliest time of its next start, for a backoff.
        self.not_before = 0.0
        #: Where its tree keeps it because something is to be done with it; None if nothing is.
        self.stands: ByPlace | None = None

    @property
    def id(self) -> str:
        """Its id within its tree."""
        return str(self.spec["id"])

    @property
    def member(self) -> Member:
        """Itself, for a decision of its tree."""
        down = not self.alive and self.mark not in STARTS
        return Member(self.id, self.spec["restart"], self.spec["significant"], down)

    def note_open(self) -> None:
        """Keep in its tree what is to be done with it."""
        if self.parent is not None:
            self.parent.note(self)

    def row(self) -> NodeRow:
        """What is on disk of it."""
        return NodeRow(
            self.place,
            self.spec,
            mark=str(self.mark),
            alive=self.alive,
            up=self.up,
            restarts=self.restarts,
            exit=self.exit,
        )


class Leaf(Node):
    """A child that is a task or an actor."""

    def __init__(self, path: str, parent: Branch, row: NodeRow) -> None:
        super().__init__(path, parent, row)
        self.branch = parent
        self.task = row.task
        #: The child that was started together with it and begins before it, while it has not begun.
        self.behind: Leaf | None = None

    @property
    def shutdown(self) -> float | None:
        """Seconds that it has to stop; None for no limit."""
        seconds: float | None = self.spec["shutdown"]
        return seconds

    def row(self) -> NodeRow:
        return super().row()._replace(task=self.task)


class Branch(Node):
    """A tree."""

    def __init__(self, path: str, parent: Branch | None, row: NodeRow) -> None:
        super().__init__(path, parent, row)
        #: In the order of their start.
        self.children: dict[str, Node] = {}
        #: Those that are alive and are to be stopped; that are down and end for good; that are to be started, after a
        #: pause or at once; that were started and are not up yet.
        self.to_stop = ByPlace(last=True)
        self.to_end = ByPlace()
        self.pausing = ByPlace()
        self.to_start = ByPlace()
        self.starting = ByPlace()
        self.ending = row.ending
        self.window = row.window
        self.declared = row.declared
        #: Whether its children are being looked through, so that a change of them is seen at the end of it.
        self.advancing = False

    @property
    def backoff(self) -> Retry | None:
        """The pauses before restarts."""
        packed = self.spec["backoff"]
        return None if packed is None else Retry.unpack(packed)

    def row(self) -> NodeRow:
        return super().row()._replace(ending=self.ending, window=self.window, declared=self.declared)

    def members(self) -> list[Member]:
        """Its children, for a decision."""
        return [node.member for node in self.children.values()]

    def nodes(self) -> Iterator[Node]:
        """All nodes below it, each tree before what is in it."""
        for node in self.children.values():
            yield node
            if isinstance(node, Branch):
                yield from node.nodes()

    def note(self, node: Node) -> None:
        """Keep what is to be done with one of its children."""
        stands = self._place_of(node)
        if stands is not node.stands:
            if node.stands is not None:
                node.stands.discard(node)
            if stands is not None:
                stands.add(node)
            node.stands = stands

    def _place_of(self, node: Node) -> ByPlace | None:
        mark = node.mark
        if node.alive:
            return self.to_stop if mark is not Mark.NONE else None if node.up else self.starting
        if mark in STARTS:
            return self.pausing if node.not_before else self.to_start
        return self.to_end if mark in ENDS else None

    def forget(self, node: Node) -> None:
        """It is not one of its children any more."""
        self.children.pop(node.id, None)
        if node.stands is not None:
            node.stands.discard(node)
            node.stands = None

    def sort(self) -> None:
        """Put the children into the order of their places."""
        self.children = dict(sorted(self.children.items(), key=lambda item: item[1].place))
        for some in (self.to_stop, self.to_end, self.pausing, self.to_start, self.starting):
            some.sort()


def spec_of(packed: dict[str, Any]) -> dict[str, Any]:
    """The spec of a node without its children."""
    return {name: value for name, value in packed.items() if name != "children"}

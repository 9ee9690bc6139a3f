"""The nodes of supervision trees in memory: `Leaf`, a child, and `Branch`, a tree."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

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
        """Keep in its tree whether something is to be done with it, or it is not up yet."""
        if self.parent is not None:
            if self.mark is not Mark.NONE or (self.alive and not self.up):
                self.parent.open[self.id] = self
            else:
                self.parent.open.pop(self.id, None)

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
        #: Those with which something is to be done, or that are not up yet.
        self.open: dict[str, Node] = {}
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

    def sort(self) -> None:
        """Put the children into the order of their places."""
        self.children = dict(sorted(self.children.items(), key=lambda item: item[1].place))


def spec_of(packed: dict[str, Any]) -> dict[str, Any]:
    """The spec of a node without its children."""
    return {name: value for name, value in packed.items() if name != "children"}

"""Supervision trees: the state of each child, how often it was restarted, and how it has ended last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from ....actors.trees.status import ChildStatus, TreeStatus
from .page import ACT, Asked, Done, Page

CHILDREN: Final = 500
"""Children of one tree that are shown."""

DEEPEST: Final = 12
"""Levels that are set off from each other."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A tree or a child, with its place in the drawing."""

    depth: int
    path: str
    node: TreeStatus | ChildStatus

    @property
    def has_ended(self) -> bool:
        """Whether it can be restarted, but not stopped."""
        return self.node.state in ("stopped", "failed", "completed")


def page(asked: Asked) -> Page:
    """All trees of the home, those that have ended as well."""
    found = []
    for tree in asked.runtime.trees():
        branches = list(branches_of(tree))
        found.append((tree, branches[: CHILDREN + 1], max(0, len(branches) - CHILDREN - 1)))
    return Page("trees.html", "Supervision trees", {"trees": found, "escaped": escaped})


def branches_of(tree: TreeStatus) -> Iterator[Branch]:
    """The tree, and all that is in it, in the order of starting."""
    yield Branch(0, tree.id, tree)
    yield from _below(tree.children, 1)


def _below(children: tuple[ChildStatus, ...], depth: int) -> Iterator[Branch]:
    for child in children:
        yield Branch(min(depth, DEEPEST), child.path, child)
        yield from _below(child.children, depth + 1)


def escaped(path: str) -> str:
    """A path as a part of an address."""
    return quote(path, safe="")


def restart(asked: Asked) -> Done:
    """Restart a tree or a child."""
    top, _, rest = asked.path["path"].partition("/")
    tree = asked.runtime.tree_of(top)
    if rest:
        tree.restart_child(rest, timeout=ACT)
    else:
        tree.restart(timeout=ACT)
    return Done(asked.link("/trees"), f"{asked.path['path']} is restarted.")


def stop(asked: Asked) -> Done:
    """Stop a tree or a child. It stays stopped until it is restarted."""
    top, _, rest = asked.path["path"].partition("/")
    tree = asked.runtime.tree_of(top)
    if rest:
        tree.terminate_child(rest, timeout=ACT)
    else:
        tree.stop(timeout=ACT)
    return Done(asked.link("/trees"), f"{asked.path['path']} is asked to stop.")

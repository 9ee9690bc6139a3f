"""`TreeStatus` and `ChildStatus`: what is known of a supervision tree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

TreeState = Literal["starting", "running", "restarting", "stopping", "stopped", "failed"]
ChildState = Literal["starting", "running", "restarting", "stopping", "stopped", "failed", "completed"]


@dataclass(frozen=True, slots=True)
class LastExit:
    """How a child has ended last."""

    kind: Literal["normal", "abnormal", "shutdown"]
    reason: str
    time: float
    """In seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One child of a tree."""

    id: str
    path: str
    task: str | None
    """Name of its task or class of actors; None for a tree."""
    task_id: str | None
    state: ChildState
    worker_pid: int | None
    restarts: int
    """Of it, and of all that is in it."""
    last_exit: LastExit | None
    children: tuple[ChildStatus, ...] = ()
    """Of a tree."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class TreeStatus:
    """A supervision tree and all that is in it."""

    id: str
    state: TreeState
    restarts: int
    """Of all that is in it."""
    last_exit: LastExit | None
    children: tuple[ChildStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

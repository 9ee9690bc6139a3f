"""`child`, which specifies one child of a supervision tree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from .. import values
from ..checks import check_choice, check_flag, check_seconds
from ..errors import InvalidOption, InvalidTask, UnencodableValue
from ..refs.actor import Actor
from ..task.declaration import Task

Restart = Literal["permanent", "transient", "temporary"]
"""When a child is started again: always; if it has failed; never."""

RESTARTS: Final = ("permanent", "transient", "temporary")
#: Characters that an id may have, and the depth of a tree.
ID_LIMIT: Final = 100
_ID: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child: a task or a class actor, and how it is started, stopped and restarted. Made by `child`."""

    id: str
    task: Task[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    restart: Restart
    shutdown: float | None
    ready: bool
    start_timeout: float
    fresh: bool
    significant: bool

    def pack(self) -> dict[str, Any]:
        """As plain data for the supervisor. Raises TypeError for wrong arguments, UnencodableValue."""
        self.task.check_start(self.args, self.kwargs)
        plain = self.task.annotations.lower(self.args, self.kwargs)
        return {
            "id": self.id,
            "task": self.task.name,
            "args": _packed(plain) if self.args or self.kwargs else None,
            "options": self.task.packed_changes(),
            "restart": self.restart,
            "shutdown": self.shutdown,
            "ready": self.ready,
            "start_timeout": self.start_timeout,
            "fresh": self.fresh,
            "significant": self.significant,
        }


def child(
    id: str,
    task: Task[..., Any] | type[Actor],
    /,
    *args: Any,
    kwargs: Mapping[str, Any] | None = None,
    restart: Restart = "permanent",
    shutdown: float | None = 5.0,
    ready: bool = False,
    start_timeout: float = 60.0,
    fresh: bool = False,
    significant: bool = False,
) -> ChildSpec:
    """A child of a `Supervisor`: a task or a class of actors, with its arguments.

    `restart`: "permanent" children are always started again, "transient" ones if they have failed, "temporary" ones
    never. `shutdown`: seconds that the child has to stop before it is killed; 0 kills it at once, None waits. With
    `ready`, the next child starts once this one has called `ready()`; it has failed if it has not within
    `start_timeout` seconds. `fresh`: a restart begins without the checkpoint. `significant`: its end may end the tree;
    see `auto_shutdown` of `Supervisor`.

    Raises InvalidOption and InvalidTask, which name the child.
    """
    check_id(id, "a child")
    if isinstance(task, type) and issubclass(task, Actor):
        task = task._understudy_task
    if not isinstance(task, Task):
        raise InvalidTask(
            f"child {id!r}: a child is a function with @task or a class derived from Actor, not {task!r:.80}"
        )
    if task.refusal is not None:
        raise InvalidTask(f"child {id!r}: {task.refusal}")
    if task.launch.key is not None or task.launch.due(0) is not None:
        raise InvalidOption(f"child {id!r}: key, delay and at do not apply to the children of a tree")
    if task.launch.link:
        raise InvalidOption(
            f"child {id!r}: link=True is for tasks that a task starts; this one is its tree's"
        )
    check_choice(f"child {id!r}: restart", restart, RESTARTS)
    for name, flag in (("ready", ready), ("fresh", fresh), ("significant", significant)):
        check_flag(f"child {id!r}: {name}", flag)
    if significant and restart == "permanent":
        raise InvalidOption(f"child {id!r}: a permanent child cannot be significant, as it never ends")
    if ready and task.is_class:
        raise InvalidOption(f"child {id!r}: ready is for tasks; an actor is there once it is started")
    stop = check_seconds(f"child {id!r}: shutdown", shutdown, optional=True)
    start = check_seconds(f"child {id!r}: start_timeout", start_timeout, positive=True)
    assert start is not None
    given = dict(kwargs or {})
    task.check_start(args, given)
    return ChildSpec(id, task, args, given, restart, stop, ready, start, fresh, significant)


def check_id(id: object, what: str) -> str:
    """An id within a tree; InvalidOption for anything else."""
    if not isinstance(id, str) or len(id) > ID_LIMIT or not _ID.fullmatch(id):
        raise InvalidOption(
            f"the id of {what} is 1 to {ID_LIMIT} letters, digits, dots, _ and -, not {id!r:.80}"
        )
    return id


def _packed(arguments: Any) -> bytes:
    try:
        return values.pack(list(arguments), "arguments")
    except UnencodableValue:
        # Pack again with other names, so that the error's path starts at the caller's own argument.
        values.pack(arguments[0], "args")
        values.pack(arguments[1], "kwargs")
        raise

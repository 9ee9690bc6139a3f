"""The kinds of tasks, and everything in which they differ for the supervisor and its workers.

Nearly every task is `CODE`: a function of the app. Code outside of this file asks a kind what it does, never which kind
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..actors.box.conf import BOX, takes_messages
from ..actors.task.limit import Limit
from ..storage.tables.schema import Lane
from .settings import Settings


@dataclass(frozen=True, slots=True, eq=False)
class TaskKind:
    """What sets tasks of one kind apart."""

    lane: Lane | None = None
    """The queue in which all of them wait; None: their options decide."""
    limit: Callable[[Settings], Limit] | None = None
    """The limit at which all of them wait; None: their options decide."""
    only_waits: bool = False
    """Whether its work is done in another process, so that it is never to blame for the death of its worker."""
    leaves_behind: bool = False
    """Whether an attempt that is cut off may leave something outside of the worker, for a sweep to find."""
    takes_messages: Callable[[bytes | None], bool] = lambda _args: True
    """Whether its mailbox is open from the start, by its encoded arguments."""
    closed: str = "the mailbox of task {id} was closed"
    """Why its mailbox takes nothing, where it is closed."""
    module: str | None = None
    """The module of this package that declares it; None: a module of the app does."""


#: The name of the limit of all containers.
CONTAINERS: Final = "understudy.containers"

CODE: Final = TaskKind()
CONTAINER: Final = TaskKind(
    lane=Lane.SYNC,
    limit=lambda settings: Limit(CONTAINERS, settings.containers),
    only_waits=True,
    leaves_behind=True,
    takes_messages=takes_messages,
    closed=(
        "container task {id} takes no messages, or its mailbox was closed: a container started with "
        "BoxConf(stdin=True) gets messages on its standard input until its mailbox is closed"
    ),
    module="boxes.attempt",
)

#: By the name of the task. A task of any other name is `CODE`.
OWN_KINDS: Final = {BOX: CONTAINER}


def kind_of(name: str) -> TaskKind:
    """The kind of a task with this name."""
    return OWN_KINDS.get(name, CODE)

"""The blame for the death of a worker: a pure function from the worker's tasks to a share for each.

A task that waits (in `receive`, `sleep`, …) runs no code of its own. It is suspected only if no task was working:

=============================  =======================================================================
tasks on the worker            verdict
=============================  =======================================================================
one task in all                it is to blame
one that works, others wait    the one that works is to blame; the others are interrupted
several that work              suspects: interrupted, and run again each in a worker of its own
none that works, several wait  interrupted; their deaths are counted, and one that has been there
                               `max_crashes` times runs in a worker of its own from then on
=============================  =======================================================================

A culprit's attempt has failed. An interruption costs no attempt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

T = TypeVar("T")


class Share(Enum):
    """A task's share in the death of its worker."""

    CULPRIT = auto()
    SUSPECT = auto()
    """One of several that were working. It runs alone in a worker next time."""
    WITNESS = auto()
    """Waited, as did all tasks of the worker."""
    BYSTANDER = auto()
    """Waited while another task worked."""


@dataclass(frozen=True, slots=True)
class Blame(Generic[T]):
    """The tasks of a dead worker, each with its share."""

    shares: tuple[tuple[T, Share], ...]


def blame(working: Sequence[T], waiting: Sequence[T]) -> Blame[T]:
    """Share the blame among the tasks that had begun on a worker that died by itself."""
    if len(working) == 1 or (not working and len(waiting) == 1):
        culprit = (working or waiting)[0]
        others = waiting if working else ()
        return Blame(((culprit, Share.CULPRIT), *((task, Share.BYSTANDER) for task in others)))
    if working:
        suspects = tuple((task, Share.SUSPECT) for task in working)
        return Blame((*suspects, *((task, Share.BYSTANDER) for task in waiting)))
    return Blame(tuple((task, Share.WITNESS) for task in waiting))

"""What a start of a unique task does if another task has the same text: decided without a clock and a store."""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from ...actors.task.options import OnConflict


class There(NamedTuple):
    """The task that has a text."""

    ended: bool
    #: Whether an attempt at it may have begun, so that other arguments would come too late.
    begun: bool
    #: From when on its window counts, in seconds since the epoch.
    since: float


class Wanted(Enum):
    """What a start is to do."""

    #: Make a task, which has the text from now on.
    START = auto()
    #: Give the task that is there.
    RETURN = auto()
    #: Be refused with `NotUnique`.
    REFUSE = auto()
    #: Give the task that is there, which has not begun, the new arguments and the new time to begin.
    REPLACE = auto()
    #: Make a task that begins when the text is free: when the one that is there has ended, or its window has.
    WAIT = auto()


def judge(there: There | None, unique: float | bool, on_conflict: OnConflict, now: float) -> Wanted:
    """`unique` and `on_conflict` are those of the start: a changed declaration holds at once.

    With "replace" the newest arguments are never lost: if they come too late for the task that is there, they wait.
    """
    if there is None or not is_held(there, unique, now):
        return Wanted.START
    if on_conflict == "return":
        return Wanted.RETURN
    if on_conflict == "raise":
        return Wanted.REFUSE
    return Wanted.WAIT if there.begun or there.ended else Wanted.REPLACE


def is_held(there: There, unique: float | bool, now: float) -> bool:
    """Whether the task that is there still keeps others from its text."""
    return not there.ended if unique is True else now < there.since + unique

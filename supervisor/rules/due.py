"""What becomes of occurrences that are due: which of them run, and which are skipped, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .pauses import PAUSE

#: The most missed occurrences of a schedule that run.
MOST: Final = 1_000

MISSED: Final = "missed: no supervisor was there"
SUPERSEDED: Final = "missed: a later occurrence runs"
TOO_LATE: Final = "missed: longer ago than missed_within"
TOO_MANY: Final = f"missed: more than {MOST:,} were, and the last of them run"
OVERLAP: Final = "overlap: the run before has not ended"
FULL: Final = f"overlap: {MOST:,} runs wait already"
NOT_UNIQUE: Final = "unique: another task has its key"
CHANGED: Final = "changed: the schedule was replaced"


class Due(NamedTuple):
    """An occurrence that is due."""

    at: float
    #: When its run was to begin: later than `at` by the jitter.
    begin: float


class Pause(NamedTuple):
    """Occurrences after `start` and up to `end` are skipped for this reason."""

    start: float
    end: float
    reason: str


def judge(
    due: Sequence[Due],
    is_all: bool,
    now: float,
    missed: str,
    within: float,
    pauses: Sequence[Pause] = (),
) -> list[str | None]:
    """For each occurrence that is due at `now`, in their order: None if it runs, else why it is skipped.

    `is_all`: no others are due. Otherwise the last 1,000 may be left out, to be judged with those that follow.
    """
    if len(due) == 1 and is_all and not pauses and now - due[0].begin <= PAUSE:
        return [None]
    if missed == "all":
        # Those that run are the last ones, and these are not known before all are.
        first = len(due) - MOST
        judged = due if is_all else due[: max(0, first)]
    else:
        judged = due
        first = _last_outside(due, pauses) if is_all else len(due)
    return [
        _why_paused(each, pauses)
        or (
            None
            if now - each.begin <= PAUSE
            else _why_missed(each, number < first or not is_all, now, missed, within)
        )
        for number, each in enumerate(judged)
    ]


def _why_missed(late: Due, is_followed: bool, now: float, missed: str, within: float) -> str | None:
    """Why a late occurrence is skipped. `is_followed`: it is not among the last ones, which run."""
    if missed == "skip":
        return MISSED
    if now - late.at > within:
        return TOO_LATE
    if not is_followed:
        return None
    return TOO_MANY if missed == "all" else SUPERSEDED


def _why_paused(due: Due, pauses: Sequence[Pause]) -> str | None:
    return next((pause.reason for pause in pauses if pause.start < due.at <= pause.end), None)


def _last_outside(due: Sequence[Due], pauses: Sequence[Pause]) -> int:
    """The place of the last occurrence that is in no pause."""
    numbers = range(len(due) - 1, -1, -1)
    return next((number for number in numbers if _why_paused(due[number], pauses) is None), 0)


class Step(NamedTuple):
    """What is to be done with an occurrence while earlier runs have not ended."""

    #: Why it is skipped; None if a run is made.
    skip: str | None = None
    #: Whether the run waits for the end of those before it.
    waits: bool = False
    #: Whether those before it are cancelled.
    cancels: bool = False


def step(overlap: str, active: int) -> Step:
    """What is to be done with an occurrence of a schedule that has so many runs which have not ended."""
    if not active or overlap == "allow":
        return Step()
    if overlap == "skip":
        return Step(skip=OVERLAP)
    if overlap == "cancel":
        return Step(waits=True, cancels=True)
    return Step(skip=FULL) if active > MOST else Step(waits=True)

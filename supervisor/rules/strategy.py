"""What follows from the exit of a child of a supervision tree: pure functions without a clock or process.

The rules are those of OTP's `supervisor`. The children of one tree are in the order of their start. A child is *down*
if it is not to be restarted: it has ended for good, or was terminated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Exit(StrEnum):
    """How a child has ended."""

    NORMAL = "normal"
    """It has returned, or an actor has stopped."""
    ABNORMAL = "abnormal"
    """It has failed after its own retries, timed out, lost its worker, or was not ready in time."""
    SHUTDOWN = "shutdown"
    """It was cancelled. A drain, a deploy or the death of a neighbour is no exit."""


class Step(StrEnum):
    """What the tree does then."""

    RESTART = "restart"
    LEAVE = "leave"
    """The child is down, and nothing else changes."""
    END = "end"
    """The tree ends in good order: its children are stopped in reverse."""
    GIVE_UP = "give up"
    """Too many restarts: the children are stopped in reverse, and the tree has failed."""


@dataclass(frozen=True, slots=True)
class Member:
    """One child, as far as a decision needs it."""

    id: str
    restart: str = "permanent"
    significant: bool = False
    down: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an exit."""

    step: Step
    stop: tuple[str, ...] = ()
    """Children to stop, in this order: those that are up."""
    start: tuple[str, ...] = ()
    """Children to start afterwards, in this order: the one that has ended is among them."""
    drop: tuple[str, ...] = ()
    """Children among `stop` that are not started again, because they are temporary."""


LEFT: Final = Decision(Step.LEAVE)
ENDED: Final = Decision(Step.END)
GIVEN_UP: Final = Decision(Step.GIVE_UP)


def is_restarted(restart: str, how: Exit) -> bool:
    """Whether a child of this restart type is started again after such an exit."""
    return restart == "permanent" or (restart == "transient" and how is Exit.ABNORMAL)


def after_exit(
    members: Sequence[Member],
    who: str,
    how: Exit,
    *,
    strategy: str,
    auto_shutdown: str = "never",
    too_many: bool = False,
) -> Decision:
    """What follows when a child has ended that nobody had asked to.

    `too_many`: whether one more restart exceeds the intensity.

    1. A child that its restart type does not start again stays down. If it is significant, and with "all_significant"
       every other significant child is down, too, the tree ends.
    2. A restart beyond the intensity makes the tree give up.
    3. Otherwise the strategy says which other children are stopped, in reverse, and then started again, in order.
       Temporary ones among them are stopped and not started again.
    """
    place = next(number for number, member in enumerate(members) if member.id == who)
    member = members[place]
    if not is_restarted(member.restart, how):
        return ENDED if _ends(members, member, auto_shutdown) else LEFT
    if too_many:
        return GIVEN_UP
    first = {"one_for_one": len(members), "one_for_all": 0, "rest_for_one": place + 1}[strategy]
    others = [each for each in members[first:] if each is not member and not each.down]
    kept = {each.id for each in others if each.restart != "temporary"} | {who}
    return Decision(
        Step.RESTART,
        stop=tuple(each.id for each in reversed(others)),
        start=tuple(each.id for each in members if each.id in kept),
        drop=tuple(each.id for each in others if each.id not in kept),
    )


def _ends(members: Sequence[Member], member: Member, auto_shutdown: str) -> bool:
    """Whether the end of a child that stays down ends the tree."""
    if not member.significant or auto_shutdown == "never":
        return False
    if auto_shutdown == "any_significant":
        return True
    return all(each.down or each is member for each in members if each.significant)

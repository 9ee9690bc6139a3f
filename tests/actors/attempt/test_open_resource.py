from __future__ import annotations

import threading
from typing import Any

import pytest

from understudy.actors.attempt import actor, async_actor
from understudy.actors.attempt.host import Ending, Outcome
from understudy.actors.attempt.open_resource import Closing, closing_reason


@pytest.mark.parametrize(
    ("ending", "signal", "why"),
    [
        (Ending.VALUE, None, Closing.DONE),
        (Ending.ERROR, None, Closing.FAILED),
        (Ending.FAIL, None, Closing.FAILED),
        (Ending.RETRY_LATER, None, Closing.AWAY),
        (Ending.INTERRUPTED, None, Closing.AWAY),
        (Ending.VALUE, "cancel", Closing.AWAY),
        (Ending.ERROR, "timeout", Closing.AWAY),
    ],
)
def test_why_it_leaves(ending: Ending, signal: str | None, why: Closing) -> None:
    assert closing_reason(Outcome(ending), signal) is why


class Umbrella:
    def __init__(self, owner: Any, *, stays: bool = False) -> None:
        self.owner = owner
        self.stays = stays
        self.said: list[Any] = []

    def close_for(self, why: Closing) -> None:
        self.said.append(why)
        if not self.stays:
            threading.Thread(target=self._go).start()

    def _go(self) -> None:
        self.owner.disown(self)
        self.owner.inbox.wake()

    def drop(self) -> None:
        self.said.append("dropped")


def test_the_end_is_told_once_everything_is_put_away(stage: Any, flavour: Any) -> None:
    async def body(api: Any) -> int:
        for umbrella in umbrellas:
            play.actor.own(umbrella)
        play.actor.disown(umbrellas[0])
        return 7

    play = stage.perform(flavour(body), now=False)
    umbrellas = [Umbrella(play.actor) for _ in range(3)]
    stage.begin(play)
    assert play.value() == 7
    assert [umbrella.said for umbrella in umbrellas] == [[], [Closing.DONE], [Closing.DONE]]


def test_what_does_not_go_is_dropped(stage: Any, flavour: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(api: Any) -> None:
        play.actor.own(umbrella)
        raise ValueError

    for module in (actor, async_actor):
        monkeypatch.setattr(module, "CLOSE_WITHIN", 0.01)
    play = stage.perform(flavour(body), now=False)
    umbrella = Umbrella(play.actor, stays=True)
    stage.begin(play)
    assert play.outcome().ending is Ending.ERROR
    assert umbrella.said == [Closing.FAILED, "dropped"]


def test_a_cancel_that_comes_with_the_end_spoils_nothing(stage: Any) -> None:
    async def body() -> int:
        play.actor.own(umbrella)
        play.actor._throw()  # has been thrown, and will be caught by the next wait
        return 7

    play = stage.perform(body, now=False)
    umbrella = Umbrella(play.actor)
    stage.begin(play)
    assert play.value() == 7
    assert umbrella.said == [Closing.DONE]

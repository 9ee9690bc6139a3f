"""Replies: none that a turn makes is too large for the supervisor to take."""

from __future__ import annotations

from typing import Any

import pytest

from turns_stage import STOP, Stage, call
from understudy.actors.attempt.reply import error_reply, value_reply
from understudy.actors.errors import ValueTooLarge
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.read_only import read_only
from understudy.actors.refs.remote_error import ERROR_LIMIT, unpack_reply
from understudy.actors.task.annotations import NONE

#: Bytes of a value; as many as an error may take.
LIMIT = ERROR_LIMIT


class Large(Actor, durable=True, state_limit=2 * LIMIT):
    text = "x"

    def gives(self, size: int) -> str:
        return self.text * size

    @read_only
    def reads(self, size: int) -> str:
        return self.text * size

    def fails(self) -> None:
        raise ValueError("x" * 100_000)

    def keeps(self, size: int) -> None:
        self.kept = self.text * size

    def on_stop(self) -> str:
        return self.text * (LIMIT - 4)


class LargeVolatile(Large, durable=False):
    pass


def limited(stage: Stage, *letters: Any, limit: int = LIMIT) -> Any:
    """The answer to the last letter where values may have so many bytes."""
    stage.begin(*letters)
    assert stage.turn is not None
    stage.turn.value_limit = limit
    stage.run()
    return stage.answer(letters[-1])


@pytest.mark.parametrize("cls", [Large, LargeVolatile])
@pytest.mark.parametrize("method", ["gives", "reads"])
def test_a_result_near_the_limit(cls: type[Actor], method: str) -> None:
    """The envelope counts, too."""
    for size in range(LIMIT - 20, LIMIT + 5):
        stage = Stage(cls)
        try:
            assert len(limited(stage, call(method, size))) == size
        except ValueTooLarge:
            assert size > LIMIT - 14


def test_a_state_near_the_limit() -> None:
    for size in range(LIMIT - 100, LIMIT):
        stage = Stage(Large)
        try:
            limited(stage, call("keeps", size))
        except ValueTooLarge:
            assert size > LIMIT - 90
        else:
            assert stage.state is not None
            assert len(stage.state) <= LIMIT


@pytest.mark.parametrize("cls", [Large, LargeVolatile])
def test_what_on_stop_returns_may_be_too_large(cls: type[Actor]) -> None:
    with pytest.raises(ValueTooLarge):
        limited(Stage(cls), STOP)


def test_an_error_may_be_larger_than_a_value() -> None:
    with pytest.raises(ValueError, match=r"x+\n…\nx+"):
        limited(Stage(Large), call("fails"), limit=1024)


def test_what_a_large_error_carries_is_left_out() -> None:
    class Chatty(ExceptionGroup[Exception]):
        pass

    error = Chatty("no", [ValueError(str(n)) for n in range(50_000)])
    error.things = "x" * 60_000  # type: ignore[attr-defined]
    reply = error_reply(error)
    assert len(reply) <= ERROR_LIMIT
    with pytest.raises(Exception, match="no"):
        unpack_reply(reply)


def test_a_value() -> None:
    assert unpack_reply(value_reply([1, None], NONE, LIMIT)) == [1, None]
    assert unpack_reply(value_reply(None, NONE, LIMIT)) is None

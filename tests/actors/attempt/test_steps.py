"""What an attempt knows of its steps, and when it asks; what the calls do is in tests/scenarios/test_steps.py."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from understudy import Fail, Retry, RetryLater, StepsFull, aio, step
from understudy.actors import values
from understudy.actors.attempt.steps import KEPT_BYTES, Steps
from understudy.actors.errors import Interrupted, InvalidOption, InvalidValue, StoreFull
from understudy.actors.step_label import STEPS_BYTES, STEPS_LIMIT, call_label, key_label

ONE, TWO, THREE = (call_label(b"work", number) for number in (1, 2, 3))
KEY = key_label("k")


def test_without_any() -> None:
    steps = Steps(None)
    assert steps.value(ONE) is None
    assert steps.is_unknown(ONE)
    assert steps.is_unknown(KEY)


def test_all_of_them() -> None:
    steps = Steps((2, 10, [(ONE, b"1"), (TWO, b"2")], True))
    assert (steps.count, steps.size) == (2, 10)
    assert (steps.value(ONE), steps.value(TWO)) == (b"1", b"2")
    assert steps.is_unknown(THREE)
    assert steps.is_unknown(KEY)


def test_some_of_them() -> None:
    """Behind the last one it must ask."""
    steps = Steps((9, 10, [(ONE, b"1"), (TWO, b"2")], False))
    assert not steps.is_unknown(THREE)
    steps.take(THREE, ([(KEY, b"k")], True))
    assert steps.is_unknown(THREE)
    assert steps.value(KEY) == b"k"
    assert not steps.is_unknown(ONE), "what was known first is not here any more"


def test_none_of_them() -> None:
    """If the first one is large, nothing comes with the attempt."""
    steps = Steps((1, 10, [], False))
    assert not steps.is_unknown(ONE)
    steps.take(ONE, ([], True))
    assert steps.is_unknown(ONE)


def test_calls_are_counted_by_name_and_letter() -> None:
    steps = Steps(None)
    numbers = [steps.call_number(*call) for call in [(b"", b"a"), (b"", b"a"), (b"", b"b"), (b"l", b"a")]]
    assert numbers == [1, 2, 1, 1]


def test_own_steps_with_a_key_are_here_while_they_are_small() -> None:
    steps = Steps(None)
    steps.kept(b"", KEY, "work", b"v")
    assert (steps.value(KEY), steps.count, steps.size) == (b"v", 1, 1)
    large = key_label("large")
    steps.kept(b"", large, "work", bytes(KEPT_BYTES))
    assert steps.value(large) is None
    assert not steps.is_unknown(large), "it must ask for it"
    steps.kept(b"", ONE, "work", b"v")
    assert steps.value(ONE) is None, "a call comes once only"


def test_a_key_has_one_name() -> None:
    steps = Steps(None)
    steps.note_name(KEY, "a")
    steps.note_name(KEY, "a")
    with pytest.raises(InvalidOption, match="step b has the key of step a"):
        steps.note_name(KEY, "b")


def test_one_at_a_time() -> None:
    steps = Steps(None)
    steps.begin(KEY, "a")
    with pytest.raises(InvalidOption, match="under way"):
        steps.begin(KEY, "a")
    steps.end(KEY)
    steps.begin(KEY, "a")


# --- calls, with a host of the test ---


class Kept:
    """What a stage's host does about steps."""

    def __init__(self, stage: Any) -> None:
        self.rows: list[tuple[str, bytes]] = []
        self.asked: list[bytes] = []
        self.refuse: Exception | None = None
        stage.keep_step, stage.steps = self.keep, self.read

    def keep(self, _actor: Any, letter: bytes, _label: bytes, name: str, value: bytes) -> Future[Any]:
        assert letter == b""
        future: Future[Any] = Future()
        if self.refuse is not None:
            future.set_exception(self.refuse)
        else:
            self.rows.append((name, value))
            threading.Thread(target=future.set_result, args=(None,)).start()
        return future

    def read(self, _actor: Any, label: bytes) -> Future[Any]:
        self.asked.append(label)
        future: Future[Any] = Future()
        future.set_result(([], True))
        return future


@pytest.fixture
def kept(stage: Any) -> Kept:
    return Kept(stage)


def work() -> int:
    return 7


def test_a_value_is_kept_before_it_is_given(stage: Any, kept: Kept) -> None:
    def body() -> Any:
        return step(work)

    assert stage.perform(body).value() == 7
    assert kept.rows == [(f"{__name__}:work", values.pack(7))]
    assert kept.asked == [], "a first attempt knows that there are none"


def test_the_first_attempt_gets_what_later_ones_get(stage: Any, kept: Kept) -> None:
    def body() -> Any:
        return type(step.options(name="pair")(lambda: (1, 2))).__name__

    assert stage.perform(body).value() == "list"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_value_that_is_refused(stage: Any, kept: Kept, is_async: bool) -> None:
    kept.refuse = StoreFull("no room")

    def body() -> Any:
        return step(work)

    async def async_body() -> Any:
        return await aio.step(work)

    outcome = stage.perform(async_body if is_async else body).outcome()
    assert outcome.error[:2] == ("StoreFull", "no room")


@pytest.mark.parametrize(("count", "size"), [(STEPS_LIMIT, 0), (1, STEPS_BYTES)], ids=["number", "bytes"])
def test_the_limits(stage: Any, kept: Kept, count: int, size: int) -> None:
    """Refused before the function runs; with one step or byte less it runs."""
    ran: list[bool] = []

    def body() -> Any:
        from understudy.actors.attempt.actor import actor_here

        steps = actor_here("test").steps
        steps.count, steps.size = count - bool(not size), size - bool(size)
        step.options(name="fits")(ran.append, True)
        steps.count, steps.size = count, size
        step.options(name="late")(ran.append, True)

    outcome = stage.perform(body).outcome()
    assert outcome.error[0] == StepsFull.__name__
    assert "step late is not begun" in outcome.error[1]
    assert ran == [True]


def test_a_drain_comes_before_the_function(stage: Any, kept: Kept) -> None:
    ran: list[bool] = []

    def body() -> Any:
        play = stage.plays[next(iter(stage.plays))]
        play.mark("here")
        while not play.actor.interrupted:
            pass
        step.options(name="late")(ran.append, True)

    play = stage.perform(body)
    play.until_marked("here")
    play.actor.interrupt()
    assert play.outcome().ending.name == "INTERRUPTED"
    assert ran == []


def test_a_drain_comes_after_the_commit(stage: Any, kept: Kept) -> None:
    """The value is on disk then: the next attempt has it."""

    def body() -> Any:
        stage.plays[next(iter(stage.plays))].actor.interrupt()
        return 1

    assert stage.perform(lambda: step.options(name="x")(body)).outcome().ending.name == "INTERRUPTED"
    assert len(kept.rows) == 1


@pytest.mark.parametrize("error", [Fail("no"), RetryLater(1.0), Interrupted("no"), SystemExit("no")])
def test_errors_that_no_step_tries_again(stage: Any, kept: Kept, error: BaseException) -> None:
    ran: list[bool] = []

    def fails() -> None:
        ran.append(True)
        raise error

    stage.perform(lambda: step.options(name="x", retry=Retry(5, delay=0))(fails)).outcome()
    assert ran == [True]


def test_what_its_policy_covers(stage: Any, kept: Kept) -> None:
    ran: list[type[Exception]] = []

    def fails() -> None:
        ran.append([ConnectionError, KeyError, OSError][len(ran)])
        raise ran[-1]

    policy = Retry(5, delay=0, on=(OSError, KeyError), not_on=KeyError)
    outcome = stage.perform(lambda: step.options(name="x", retry=policy)(fails)).outcome()
    assert ran == [ConnectionError, KeyError]
    assert outcome.error[0] == "KeyError"


def test_a_stored_value_that_is_none(stage: Any, kept: Kept) -> None:
    """Damaged bytes fail by name, and the function does not run."""
    ran: list[bool] = []

    def body() -> Any:
        from understudy.actors.attempt.actor import actor_here

        actor = actor_here("test")
        actor.__dict__["_steps"] = Steps((1, 0, [(call_label(b"x", 1), b"")], True))
        try:
            step.options(name="x")(ran.append, True)
        except InvalidValue as error:
            return error.__notes__

    assert stage.perform(body).value() == ["This is the stored value of step x."]
    assert ran == []


def test_a_cancel_while_it_is_written(stage: Any, kept: Kept) -> None:
    """The code gets CancelledError, and the attempt knows the step nevertheless."""
    writing: Future[Any] = Future()
    reported = asyncio.Event()

    def keep_step(*_: Any) -> Future[Any]:
        reported.set()
        return writing

    stage.keep_step = keep_step

    async def body() -> Any:
        play = stage.plays[next(iter(stage.plays))]
        waiting = asyncio.create_task(aio.step.options(key="k")(work))
        await reported.wait()
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        writing.set_result(None)
        return play.actor.steps.value(KEY) is not None

    assert stage.perform(body).value() is True

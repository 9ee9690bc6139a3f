"""Read-only messages that are answered while another method of the actor waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from turns_stage import Stage, call, tell
from understudy.actors.attempt import turn as turn_module
from understudy.actors.errors import ReadOnly
from understudy.actors.ids import id_text, new_id
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import READ_ONLY, Letter
from understudy.actors.refs.port import turn_here
from understudy.actors.refs.read_only import read_only
from waiting import until

#: What methods wait for, by what they were given.
futures: dict[str, Future[Any]] = {}


def wait(name: str) -> Any:
    turn = turn_here()
    assert turn is not None
    turn.commit_earlier()
    future = futures.setdefault(name, Future())
    turn.wait_future(future, None)
    return future.result()


async def wait_async(name: str) -> Any:
    turn: Any = turn_here()
    turn.commit_earlier()
    future = futures.setdefault(name, Future())
    await turn.wait_future_async(future, None)
    return future.result()


class Peeked(Actor, durable=True):
    def __init__(self) -> None:
        self.count = 0

    def waits(self) -> int:
        self.count += 1
        self.storage["x"] = self.count
        wait("main")
        self.count += 10
        return self.count

    def adds(self) -> None:
        self.count += 1

    @read_only
    def peek(self) -> Any:
        return [self.count, self.storage.get("x"), self.message_id]

    @read_only
    def waits_too(self, name: str) -> Any:
        print("in", name)
        return [wait(name), self.count]

    @read_only
    def cheats(self) -> None:
        self.count = 7

    @read_only
    def tells(self, fails: bool = False) -> None:
        turn = turn_here()
        assert turn is not None
        turn.post(new_id(), b"told", True)
        if fails:
            raise ValueError("no")


class AsyncPeeked(Actor, durable=True):
    def __init__(self) -> None:
        self.count = 0

    async def waits(self) -> int:
        self.count += 1
        self.storage["x"] = self.count
        await wait_async("main")
        self.count += 10
        return self.count

    async def adds(self) -> None:
        self.count += 1

    @read_only
    def peek(self) -> Any:
        return [self.count, self.storage.get("x"), self.message_id]

    @read_only
    async def waits_too(self, name: str) -> Any:
        return [await wait_async(name), self.count]

    @read_only
    async def cheats(self) -> None:
        await asyncio.sleep(0)
        self.count = 7

    @read_only
    async def tells(self, fails: bool = False) -> None:
        turn = turn_here()
        assert turn is not None
        turn.post(new_id(), b"told", True)
        if fails:
            raise ValueError("no")


@pytest.fixture(params=[Peeked, AsyncPeeked], ids=["sync", "async"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(turn_module, "TURN_SECONDS", 60.0)
    futures.clear()
    stage = Stage(request.param)
    yield stage
    for name in ("main", "one", "two"):
        go_on(name)
    stage.close()
    Stage.made.clear()


def go_on(name: str = "main", value: Any = None) -> None:
    future = futures.setdefault(name, Future())
    if not future.done():
        future.set_result(value)


def aside(stage: Stage, letter: Letter) -> None:
    assert stage.turn is not None
    stage.turn.aside(letter.pack())


def answered(stage: Stage, letter: Letter) -> Any:
    until(lambda: letter.id in dict(stage.asides))
    return stage.answer(letter)


def peek(method: str = "peek", *args: Any) -> Letter:
    return call(method, *args, flags=READ_ONLY)


def test_it_has_answered_while_another_method_waits(stage: Stage) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    first = peek()
    aside(stage, first)
    assert answered(stage, first) == [1, 1, id_text(first.id)], "it may see what is not committed"
    go_on()
    turn.join()
    assert stage.stored == {"count": 11}
    assert stage.last.acked == 1


def test_a_letter_that_was_answered_is_not_handled_again(stage: Stage) -> None:
    first, second = peek(), peek()
    turn = stage.in_thread(call("waits"), first, second)
    stage.waits()
    aside(stage, first)
    answered(stage, first)
    go_on()
    turn.join()
    assert [id for id, _, _ in stage.last.replies][1:] == [second.id]
    assert stage.last.acked == 3


def test_a_letter_that_comes_before_the_wait_has_answered_in_it(stage: Stage) -> None:
    first = peek()
    stage.begin(call("waits"))
    aside(stage, first)
    thread = threading.Thread(target=stage.run)
    stage.threads.append(thread)
    thread.start()
    assert answered(stage, first)[0] == 1
    go_on()


@pytest.mark.parametrize(
    "letter",
    [peek("adds"), tell("peek"), call("peek"), peek("absent")],
    ids=["changes", "tell", "no flag", "absent"],
)
def test_what_may_not_run_then_is_left_in_the_mailbox(stage: Stage, letter: Letter) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    aside(stage, letter)
    last = peek()
    aside(stage, last)
    assert answered(stage, last)[0] == 1
    go_on()
    turn.join()
    assert [id for id, _ in stage.asides] == [last.id]


def test_it_changes_nothing(stage: Stage) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    bad = peek("cheats")
    aside(stage, bad)
    with pytest.raises(ReadOnly):
        answered(stage, bad)
    go_on()
    turn.join()
    assert stage.stored == {"count": 11}


def test_what_it_sends_leaves_with_its_answer(stage: Stage) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    sends, fails = peek("tells"), peek("tells", True)
    aside(stage, fails)
    aside(stage, sends)
    assert answered(stage, sends) is None
    with pytest.raises(ValueError, match="no"):
        answered(stage, fails)
    assert [len(commit.posts) for commit in stage.commits] == [0]
    assert len(stage.sent_aside) == 1
    go_on()
    turn.join()


def test_one_that_waits_lets_the_next_one_run(stage: Stage) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    first, second, third = peek("waits_too", "one"), peek("waits_too", "two"), peek()
    for letter in (first, second, third):
        aside(stage, letter)
    assert answered(stage, third)[0] == 1
    go_on("two", 2)
    assert answered(stage, second) == [2, 1]
    go_on("one", 1)
    assert answered(stage, first) == [1, 1]
    go_on()
    turn.join()
    until(lambda: stage.parked_count == stage.resumed_count)


def test_what_is_not_answered_at_the_end_is_dropped(stage: Stage) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    aside(stage, peek("waits_too", "one"))
    until(lambda: "one" in futures)
    go_on()
    turn.join()
    go_on("one")
    stage.close()
    assert stage.asides == []


def test_what_it_prints_is_logged(stage: Stage) -> None:
    turn = stage.in_thread(call("waits"))
    stage.waits()
    assert stage.turn is not None
    first = peek()
    aside(stage, first)
    answered(stage, first)
    stage.turn.write("info", "line\n")
    assert stage.logged == [("info", "line")]
    go_on()
    turn.join()


def test_one_that_waits_in_its_order_does_not_run_aside(stage: Stage) -> None:
    first, second = peek("waits_too", "one"), peek()
    turn = stage.in_thread(first)
    stage.waits()
    aside(stage, first)
    aside(stage, second)
    answered(stage, second)
    assert stage.parked_count == 1, "it runs once"
    go_on("one", 1)
    turn.join()
    assert [id for id, _ in stage.asides] == [second.id]
    assert stage.answer(first) == [1, 0]


def test_one_whose_turn_comes_while_it_waits_is_answered_there(stage: Stage) -> None:
    first = peek("waits_too", "one")
    turn = stage.in_thread(call("waits"), first)
    stage.waits()
    aside(stage, first)
    until(lambda: "one" in futures)
    go_on()
    until(lambda: stage.parked_count == 3)
    go_on("one", 1)
    turn.join()
    assert stage.asides == []
    assert stage.answer(first) == [1, 11]


def test_its_answer_is_reported_before_the_turn_passes_over_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[threading.Thread] = []
    first = peek()

    def reported(turn: Any, letter_id: bytes, reply: bytes, posts: Any) -> None:
        # The turn looks whether it was answered, just when it is.
        looks = threading.Thread(target=turn.asides.has_answered, args=(first.pack(),))
        looks.start()
        looks.join(0.05)
        if not looks.is_alive():
            passed.append(looks)
        stage.asides.append((letter_id, reply))

    monkeypatch.setattr(stage, "aside", reported)
    turn = stage.in_thread(call("waits"))
    stage.waits()
    aside(stage, first)
    answered(stage, first)
    go_on()
    turn.join()
    assert passed == []

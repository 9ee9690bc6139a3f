"""How a turn handles its letters, and what becomes of errors."""

from __future__ import annotations

from typing import Any

import pytest

from turns_actors import Account, AsyncAccount, Broken, Plain
from turns_stage import STOP, Stage, call, get, message, put, tell
from understudy.actors.attempt.actor import running_actor
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import (
    InvalidValue,
    ReadOnly,
    RemoteError,
    UnencodableValue,
    ValueTooLarge,
)
from understudy.actors.ids import new_id
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import Kind, Letter
from understudy.actors.refs.port import turn_here


@pytest.fixture(params=[Account, AsyncAccount], ids=["sync", "async"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


def test_messages_and_attributes(account: Stage) -> None:
    assert account.ask(message({"q": 1})) == ["Ada", {"q": 1}]
    assert account.ask(put("owner", "Grace")) is None
    assert account.ask(get("owner")) == "Grace"
    assert account.stored["owner"] == "Grace"
    assert account.ask(message(None)) == ["Grace", None]


@pytest.mark.parametrize(
    "letter",
    [
        call("_private"),
        call("absent"),
        call("owner"),
        call("owner.upper"),
        get("_understudy"),
        put("_x", 1),
        get("no"),
    ],
    ids=lambda letter: f"{letter.op.name} {letter.path}",
)
def test_what_is_private_absent_or_no_method_is_refused(account: Stage, letter: Letter) -> None:
    with pytest.raises(AttributeError) as caught:
        account.ask(letter)
    assert isinstance(caught.value, RemoteError)
    assert account.outcomes[-1].ending is Ending.REST


@pytest.mark.parametrize("what", ["attribute", "storage", "reminder"])
def test_read_only_methods_change_nothing(account: Stage, what: str) -> None:
    account.give()
    with pytest.raises(ReadOnly):
        account.ask(call("cheats", what))
    assert (account.last.state, account.last.rows, account.last.reminders) == (None, {}, {})


def test_what_a_method_starts_belongs_to_the_stream_of_its_message() -> None:
    class Streams(Actor, durable=True):
        def on_receive(self, message: Any) -> Any:
            actor = running_actor()
            assert actor is not None
            return actor.assignment.stream

    stage, stream = Stage(Streams), new_id()
    first = message(0)._replace(stream=stream)
    second = message(0)
    stage.give(first, second)
    assert (stage.answer(first), stage.answer(second)) == (stream, bytes(16))


# --- errors ---


def test_an_ask_that_fails_is_answered_and_rolled_back(account: Stage) -> None:
    account.give(call("deposit", 3))
    asked = call("fails")
    account.give(asked, call("deposit", 1))
    with pytest.raises(ValueError, match="no") as caught:
        account.answer(asked)
    assert isinstance(caught.value, RemoteError)
    last = account.last
    assert (last.acked, last.state) == (3, {"owner": "Ada", "balance": 4})
    assert (last.rows, last.posts, last.reminders, last.dead) == ({}, [], {}, [])
    assert [changed for *_, changed in last.replies] == [False, True]
    assert account.object.bank == "touched", "transient attributes stay"


def test_a_failed_ask_of_an_async_actor_is_rolled_back(stage: Stage) -> None:
    stage.give(call("deposit", 3))
    asked = call("fails")
    stage.give(asked)
    with pytest.raises(ValueError, match="no"):
        stage.answer(asked)
    assert stage.object.balance == 3
    assert stage.last.state is None


def test_a_rollback_leaves_alone_what_has_not_changed(account: Stage) -> None:
    class Indexed(Actor, durable=True):
        transient = ("index",)

        def __init__(self) -> None:
            self.items = [1]

        def on_start(self) -> None:
            self.index = self.items

        def fails(self) -> None:
            raise ValueError

        def same(self) -> bool:
            return self.index is self.items

    stage = Stage(Indexed)
    stage.give(call("fails"))
    assert stage.ask(call("same")) is True


@pytest.mark.parametrize(
    ("size", "error", "what_to_do"),
    [
        (0, UnencodableValue, "or name the attribute in `transient`"),
        (2 << 20, ValueTooLarge, r"state_limit is 1,048,576\. Keep data in self\.storage"),
    ],
)
def test_a_state_that_cannot_be_stored_fails_the_message(
    account: Stage, size: int, error: type[Exception], what_to_do: str
) -> None:
    account.give()
    with pytest.raises(error, match=what_to_do):
        account.ask(call("unfit", size))
    assert account.object.owner == "Ada"
    assert account.last.state is None


def test_a_result_that_cannot_be_encoded_fails_the_message(account: Stage) -> None:
    with pytest.raises(UnencodableValue, match="result"):
        account.ask(get("deposit"))


@pytest.mark.parametrize("error", ["ValueError", "Fail"])
def test_a_tell_that_fails_for_good_is_a_dead_letter(account: Stage, error: str) -> None:
    account.give()
    told = tell("fails", error)
    account.give(told, tell("deposit", 1))
    [(letter, fields)] = account.last.dead
    assert letter == told.pack()
    assert fields[0] == error
    assert "in fails" in fields[2]
    assert account.last.acked == 2
    assert account.stored["balance"] == 1
    assert account.outcomes[-1].ending is Ending.REST


def test_a_tell_is_tried_again_as_its_class_says(stage: Stage) -> None:
    stage.give()
    told = tell("fails", "OSError")
    for before, tries in (([tell("deposit", 1)], 1), ([], 1)):
        outcome = stage.give(*before, told, tell("deposit", 1), tries=tries)
        assert (outcome.ending, outcome.delay) == (Ending.RETRY_LATER, 3.0)
        assert (stage.last.acked, stage.last.dead) == (1, [])
    stage.give(told, tell("deposit", 1), tries=2)
    assert [letter for letter, _ in stage.last.dead] == [told.pack()]
    assert stage.stored["balance"] == 2


def test_another_letter_has_tries_of_its_own(account: Stage) -> None:
    account.give()
    assert account.give(tell("deposit", 1), tell("fails", "OSError"), tries=2).ending is Ending.RETRY_LATER


def test_retry_later(account: Stage) -> None:
    account.give()
    told = tell("fails", "RetryLater")
    outcome = account.give(told)
    assert (outcome.ending, outcome.delay) == (Ending.RETRY_LATER, 9.0)


def test_a_letter_that_cannot_be_read(account: Stage) -> None:
    account.give()
    asked = call("deposit", 1)
    account.give(tell("deposit", 1).pack()[:34] + b"\xc1", asked.pack()[:34] + b"\xc1", call("deposit", 1))
    assert account.last.acked == 3
    assert [fields[0] for _, fields in account.last.dead] == ["InvalidValue"]
    with pytest.raises(InvalidValue):
        account.answer(asked)


class Sorry(Actor, durable=True):
    def __init__(self) -> None:
        self.failures: list[str] = []

    def fails(self) -> None:
        raise ValueError("no")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.failures.append(exception_type.__name__)
        self.storage["last"] = str(exception_value)
        if len(self.failures) > 1:
            raise KeyError("again")


def test_on_failure_is_a_transaction_of_its_own() -> None:
    stage = Stage(Sorry)
    stage.give()
    stage.give(tell("fails"))
    assert stage.stored == {"failures": ["ValueError"]}
    assert stage.last.rows == {"last": "no"}
    assert len(stage.last.dead) == 1
    stage.give(tell("fails"))
    assert stage.last.acked == 2
    assert (stage.last.state, stage.last.rows, len(stage.last.dead)) == (None, {}, 1)


#: The ids under which a Hooked would ask.
asked_under: list[bytes] = []


class Hooked(Actor, durable=True):
    def asks(self) -> None:
        turn = turn_here()
        assert turn is not None
        asked_under.append(turn.next_ask_id(b"what"))

    def fails(self) -> None:
        self.asks()
        raise ValueError("no")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.asks()

    def on_passivate(self) -> None:
        self.asks()


def test_a_hook_asks_under_ids_of_its_own() -> None:
    asked_under.clear()
    stage, failing = Stage(Hooked), tell("fails")
    stage.give(failing)
    stage.forget()
    stage.give(failing)
    first, of_hook, again, of_hook_again = asked_under
    assert (again, of_hook_again) == (first, of_hook), "a rerun gets the same answers"
    assert of_hook != first, "and the hook not that of the message"
    for _ in range(2):
        stage.give(what=1)
        stage.forget()
        stage.give(tell("asks"))
    *_, passivated, _told, passivated_again, _last = asked_under
    assert passivated != passivated_again, "each time it is put to rest is another one"


def test_what_on_stop_returns_is_the_result(stage: Stage) -> None:
    outcome = stage.give(call("deposit", 2), STOP, call("deposit", 1))
    assert outcome.ending is Ending.VALUE
    assert stage.answer(STOP) == "Ada: 2"
    assert stage.last.acked == 2
    assert stage.kept is None


def test_an_actor_stops_although_on_stop_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(Broken)
    monkeypatch.setattr(Broken, "where", "on_stop")
    outcome = stage.give(STOP)
    assert (outcome.ending, outcome.value, stage.kept) == (Ending.VALUE, None, None)
    with pytest.raises(OSError, match="no on_stop"):
        stage.answer(STOP)
    assert stage.last.rows == {}


# --- without a disk ---


def test_an_actor_without_a_disk_keeps_what_a_failed_message_has_changed() -> None:
    stage = Stage(Plain)
    with pytest.raises(ValueError, match="no"):
        stage.ask(message("fail"))
    assert stage.last.state is None
    assert len(stage.last.posts) == 1, "as in Pykka, what was told has left"
    assert stage.ask(message(1)) == 3


def test_what_an_actor_without_a_disk_tells_is_limited_by_the_message() -> None:
    stage = Stage(Plain)
    asked = [message(600), message(600), message(2000), message(600)]
    stage.begin(*asked)
    assert stage.turn is not None
    stage.turn.value_limit = 1024
    stage.run()
    assert [stage.answer(asked[n]) for n in (0, 1, 3)] == [2, 3, 5]
    with pytest.raises(ValueTooLarge):
        stage.answer(asked[2])
    told = [len(data) for commit in stage.commits for _, data, _ in commit.posts]
    assert told == [4, 600, 4, 600, 4, 4, 600]


def test_a_failed_tell_ends_an_actor_without_a_disk() -> None:
    stage = Stage(Plain)
    stage.give(message(1))
    object = stage.object
    outcome = stage.give(message("fail", Kind.TELL), message(2))
    assert outcome.ending is Ending.ERROR
    assert outcome.error is not None
    assert outcome.error[:2] == ("ValueError", "no")
    assert stage.last.acked == 2
    assert object.failed == ["no"]
    assert stage.kept is None


# --- waits ---


@pytest.mark.parametrize("kind", [Kind.ASK, Kind.TELL])
def test_a_method_that_takes_too_long_has_failed(asker: Stage, kind: Kind) -> None:
    asker.give()
    asked = call("asks", 1, kind=kind)
    turn = asker.in_thread(call("adds", 1), asked, call("adds", 2))
    asker.waits()
    assert asker.turn is not None
    asker.turn.stop_for("timeout")
    turn.join()
    assert asker.outcomes[-1].ending is Ending.REST
    assert asker.last.acked == 2, "the turn ends with it"
    if kind is Kind.ASK:
        with pytest.raises(TimeoutError, match="asks took longer than 60 s"):
            asker.answer(asked)
    else:
        assert [fields[0] for _, fields in asker.last.dead] == ["TimeoutError"]
    assert asker.object.got == [1]
    asker._acked = 2
    assert asker.give(call("adds", 2)).ending is Ending.REST


def test_a_cancelled_actor_leaves_its_message(asker: Stage) -> None:
    asker.give()
    turn = asker.in_thread(call("adds", 1), call("asks", 1))
    asker.waits()
    assert asker.turn is not None
    asker.turn.stop_for("cancel")
    turn.join()
    assert asker.outcomes[-1].ending is Ending.INTERRUPTED
    assert asker.last.acked == 1

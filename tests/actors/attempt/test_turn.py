"""Turns of actors with a host in memory. What sync and async ones have in common is tried with both."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from turns_stage import STOP, Stage, call, get, message, put, tell
from understudy.actors import values
from understudy.actors.attempt import turn as turn_module
from understudy.actors.attempt.actor import running_actor
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import (
    Fail,
    InvalidOption,
    InvalidValue,
    NotInTask,
    ReadOnly,
    RemoteError,
    RetryLater,
    UnencodableValue,
    ValueTooLarge,
)
from understudy.actors.ids import id_text, new_id
from understudy.actors.inside import aio, context
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import KEPT, Kind, Letter, Op, asked_id
from understudy.actors.refs.port import turn_here
from understudy.actors.refs.read_only import read_only
from understudy.actors.task.retry import Retry
from waiting import until

ERRORS = {
    "ValueError": ValueError("no"),
    "OSError": OSError("no"),
    "Fail": Fail("no"),
    "RetryLater": RetryLater(9),
}


class Account(Actor, durable=True, retry=Retry(2, delay=3.0, on=OSError)):
    transient = ("bank",)
    bank: str

    def __init__(self, owner: str = "Ada") -> None:
        self.owner, self.balance = owner, 0

    def on_start(self) -> None:
        self.bank = "open"

    def on_receive(self, message: Any) -> Any:
        return [self.owner, message]

    def deposit(self, n: int) -> int:
        self.balance += n
        return self.balance

    def fails(self, error: str = "ValueError", n: int = 1) -> None:
        self.balance += n
        self.bank = "touched"
        self.storage["x"] = n
        self.remind("later", "deposit", 5, delay=10)
        turn = turn_here()
        assert turn is not None
        turn.post(new_id(), b"a letter", True)
        raise {"RetryLater": RetryLater(9)}.get(error) or {
            "ValueError": ValueError,
            "OSError": OSError,
            "Fail": Fail,
        }[error]("no")

    def tells(self, *targets: bytes) -> None:
        turn = turn_here()
        assert turn is not None
        for target in targets:
            turn.post(target, b"told", False)

    def unfit(self, size: int = 0) -> None:
        self.owner = object() if not size else "x" * size  # type: ignore[assignment]

    def stores(self, **rows: Any) -> Any:
        for key, value in rows.items():
            if value is None:
                del self.storage[key]
            else:
                self.storage[key] = value
        return sorted(self.storage.items())

    @read_only
    def peek(self) -> int:
        return self.balance

    @read_only
    def cheats(self, what: str) -> None:
        if what == "attribute":
            self.balance = 7
        elif what == "storage":
            self.storage["x"] = 1
        else:
            self.remind("x", "peek", delay=1)

    def ends(self) -> None:
        self.stop()

    def rests(self) -> None:
        self.passivate()

    def on_stop(self) -> str:
        return f"{self.owner}: {self.balance}"

    def _private(self) -> None:
        raise AssertionError


class AsyncAccount(Actor, durable=True, retry=Retry(2, delay=3.0, on=OSError)):
    def __init__(self, owner: str = "Ada") -> None:
        self.owner, self.balance = owner, 0

    async def on_start(self) -> None:
        await asyncio.sleep(0)

    async def deposit(self, n: int) -> int:
        self.balance += n
        await asyncio.sleep(0)
        return self.balance

    async def fails(self, error: str = "ValueError") -> None:
        self.balance += 1
        await asyncio.sleep(0)
        raise ERRORS[error]

    @read_only
    def peek(self) -> int:
        return self.balance

    async def on_stop(self) -> str:
        await asyncio.sleep(0)
        return f"{self.owner}: {self.balance}"


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A busy machine ends no turn; and no stage is left behind."""
    monkeypatch.setattr(turn_module, "TURN_SECONDS", 60.0)
    yield
    while Stage.made:
        Stage.made.pop().close()


@pytest.fixture(params=[Account, AsyncAccount], ids=["sync", "async"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


@pytest.fixture
def account() -> Stage:
    return Stage(Account)


# --- the object ---


def test_the_first_turn_builds_the_object_and_stores_it(stage: Stage) -> None:
    assert stage.give().ending is Ending.REST
    assert stage.stored == {"owner": "Ada", "balance": 0}, "transient attributes and its side are no state"
    assert [commit.acked for commit in stage.commits] == [0]
    assert stage.object._understudy is None, "between turns it belongs to none"


def test_the_object_stays_between_turns(stage: Stage) -> None:
    first = call("deposit", 5)
    assert stage.ask(first) == 5
    object = stage.object
    assert stage.ask(call("deposit", 6)) == 11
    assert stage.object is object
    assert stage.stored["balance"] == 11


def test_it_is_built_anew_from_its_state(stage: Stage) -> None:
    stage.args = None
    stage.give(call("deposit", 5))
    stage.forget()
    assert stage.ask(call("deposit", 1)) == 6
    assert stage.object.owner == "Ada"
    if stage.cls is Account:
        assert stage.object.bank == "open", "on_start has run again"


def test_the_constructor_gets_its_arguments() -> None:
    stage = Stage(Account, "Grace")
    stage.give()
    assert stage.stored["owner"] == "Grace"


def test_an_object_that_is_not_here(account: Stage) -> None:
    account.give()
    account.begin(call("deposit", 1))
    assert account.turn is not None
    account.turn.resident = None
    account.turn._start_actor_loop()
    assert account.outcomes[-1].ending is Ending.ABSENT
    assert len(account.commits) == 1


class Old(Actor, durable=True, name="tests:Versioned"):
    def __init__(self) -> None:
        self.cents = 500


class New(Actor, durable=True, state_version=2, name="tests:Versioned2"):
    euros: float = 0.0
    result: Any = None

    @classmethod
    def upgrade(cls, state: dict[str, Any], version: int) -> dict[str, Any]:
        assert version == 1
        if cls.result is not None:
            return cls.result  # type: ignore[no-any-return]
        return {"euros": state["cents"] / 100}

    def spend(self, n: float) -> float:
        self.euros -= n
        return self.euros

    @read_only
    def left(self) -> float:
        return self.euros


def upgraded() -> Stage:
    old, new = Stage(Old), Stage(New)
    old.give()
    new.state = old.state
    return new


def test_a_state_of_an_earlier_version_is_upgraded() -> None:
    stage = upgraded()
    before = stage.state
    assert stage.ask(call("left")) == 5.0
    assert stage.state is before, "what changes nothing stores nothing"
    assert stage.ask(call("spend", 1.5)) == 3.5
    assert stage.stored == {"euros": 3.5}
    stage.forget()
    assert stage.ask(call("left")) == 3.5


def test_the_upgraded_state_is_stored_with_anything_else() -> None:
    stage = upgraded()
    letter = Letter(Kind.ASK, KEPT, new_id(), None, Op.CALL, "left")
    assert stage.ask(letter) == 5.0
    assert stage.last.state is None
    stage.begin(call("left"))
    assert stage.turn is not None
    stage.turn.effects.asked = 1
    stage.turn.settled.rows["x"] = b"\x01"
    stage.turn._start_actor_loop()
    assert stage.last.state == {"euros": 5.0}


@pytest.mark.parametrize("result", [[1], {1: 2}])
def test_an_upgrade_that_gives_no_attributes(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    stage = upgraded()
    monkeypatch.setattr(New, "result", result)
    outcome = stage.give(call("left"))
    assert outcome.ending is Ending.ERROR
    assert outcome.error is not None
    assert "upgrade returned" in outcome.error[1]


def test_a_state_from_the_future_is_not_touched() -> None:
    new, old = Stage(New), Stage(Old)
    new.give()
    old.state = before = new.state
    outcome = old.give(call("left"))
    assert outcome.ending is Ending.ERROR
    assert outcome.error is not None
    assert "version 2" in outcome.error[1]
    assert (old.commits, old.kept, old.state) == ([], None, before)


class Broken(Actor, durable=True):
    where = ""

    def __init__(self) -> None:
        self.started = 0
        self.check("__init__")

    def check(self, where: str) -> None:
        if where == Broken.where:
            self.storage["x"] = 1
            raise OSError(f"no {where}")

    def on_start(self) -> None:
        self.started += 1
        self.check("on_start")

    def on_passivate(self) -> None:
        self.started = -1
        self.check("on_passivate")

    def on_stop(self) -> None:
        self.check("on_stop")


@pytest.mark.parametrize("where", ["__init__", "on_start"])
def test_an_activation_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    stage = Stage(Broken)
    monkeypatch.setattr(Broken, "where", where)
    outcome = stage.give(get("started"))
    assert outcome.ending is Ending.ERROR
    assert outcome.error is not None
    assert outcome.error[:2] == ("OSError", f"no {where}")
    assert (stage.commits, stage.kept) == ([], None)
    monkeypatch.setattr(Broken, "where", "")
    assert stage.ask(get("started")) == 1


def test_what_on_start_changes_is_stored() -> None:
    stage = Stage(Broken)
    stage.give()
    stage.forget()
    assert stage.ask(get("started")) == 2
    assert stage.stored == {"started": 2}


# --- messages ---


def test_letters_are_handled_in_order_in_one_commit(stage: Stage) -> None:
    stage.give()
    letters = [call("deposit", n) for n in (1, 2, 3)]
    stage.give(*letters, tell("deposit", 4))
    assert [stage.answer(letter) for letter in letters] == [1, 3, 6]
    assert len(stage.commits) == 2
    assert stage.last.acked == 4
    assert stage.last.state == {"owner": "Ada", "balance": 10}
    assert [changed for _, _, changed in stage.last.replies] == [True] * 3
    assert stage.outcomes[-1].value is None


def test_a_turn_waits_for_the_letters_that_it_was_given(stage: Stage) -> None:
    stage.begin(call("deposit", 1))
    turn = stage.turn
    assert turn is not None
    letters, turn.inbox.messages = turn.inbox.messages, ()
    thread = threading.Thread(target=stage.run)
    stage.threads.append(thread)
    thread.start()
    until(lambda: turn.inbox.rings)
    turn.inbox.put_all(letters)
    thread.join()
    assert stage.stored["balance"] == 1
    assert (stage.parked_count, turn.inbox.rings) == (0, ())


def test_a_turn_that_waits_for_letters_can_be_interrupted(stage: Stage) -> None:
    stage.begin(call("deposit", 1))
    turn = stage.turn
    assert turn is not None
    turn.inbox.messages = ()
    thread = threading.Thread(target=stage.run)
    stage.threads.append(thread)
    thread.start()
    until(lambda: turn.inbox.rings)
    turn.interrupt()
    thread.join()
    assert stage.last.acked == 0


def test_a_turn_takes_so_long(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "TURN_SECONDS", 0.0)
    stage.give(*(call("deposit", 1) for _ in range(5)))
    assert stage.last.acked == 1


def test_a_letter_that_was_taken_back_is_skipped(stage: Stage) -> None:
    stage.give(call("deposit", 1), b"", call("deposit", 1))
    assert stage.last.acked == 3
    assert stage.stored["balance"] == 2


def test_what_changes_nothing_says_so(stage: Stage) -> None:
    stage.give()
    asked = call("peek")
    assert stage.ask(asked) == 0
    assert stage.last.state is None
    assert [changed for *_, changed in stage.last.replies] == [False]
    assert stage.ask(get("balance")) == 0
    assert [changed for *_, changed in stage.last.replies] == [False]
    assert stage.ask(call("deposit", 0)) == 0
    assert stage.last.state is None


def test_a_reply_under_a_key_is_kept(stage: Stage) -> None:
    stage.give()
    stage.give(Letter(Kind.ASK, KEPT, new_id(), None, Op.CALL, "peek"))
    assert [changed for *_, changed in stage.last.replies] == [True]


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


def test_the_id_of_a_message() -> None:
    class Says(Actor, durable=True):
        def on_receive(self, message: Any) -> Any:
            return [self.message_id, self.actor_ref.id, self.actor_urn]

    stage = Stage(Says)
    asked = message(0)
    id = id_text(stage.id)
    assert stage.ask(asked) == [id_text(asked.id), id, f"urn:uuid:{id}"]


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


@pytest.mark.parametrize(("size", "error"), [(0, UnencodableValue), (2 << 20, ValueTooLarge)])
def test_a_state_that_cannot_be_stored_fails_the_message(
    account: Stage, size: int, error: type[Exception]
) -> None:
    account.give()
    with pytest.raises(error, match="state"):
        account.ask(call("unfit", size))
    assert account.object.owner == "Ada"
    assert account.last.state is None


def test_a_result_that_cannot_be_encoded_fails_the_message(account: Stage) -> None:
    with pytest.raises(UnencodableValue, match="result"):
        account.ask(get("deposit"))


def test_more_than_a_commit_holds(account: Stage) -> None:
    account.begin(call("stores", x="y" * 600, z="y" * 600))
    assert account.turn is not None
    account.turn.value_limit = 1000
    account.turn._start_actor_loop()
    assert account.last.rows == {}
    assert len(account.last.replies) == 1


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
    for before in ([tell("deposit", 1)], []):
        outcome = stage.give(*before, told, tell("deposit", 1))
        assert (outcome.ending, outcome.delay) == (Ending.RETRY_LATER, 3.0)
        assert (stage.last.acked, stage.last.dead) == (1, [])
    stage.give(told, tell("deposit", 1))
    assert [letter for letter, _ in stage.last.dead] == [told.pack()]
    assert stage.stored["balance"] == 2


def test_another_letter_has_tries_of_its_own(account: Stage) -> None:
    account.give()
    for _ in range(3):
        assert account.give(tell("fails", "OSError")).ending is Ending.RETRY_LATER


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
        asked_under.append(turn.next_ask_id())

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


# --- storage and reminders ---


def test_storage_goes_with_the_commit(account: Stage) -> None:
    assert account.ask(call("stores", a=1, b=[2])) == [["a", 1], ["b", [2]]]
    assert account.last.rows == {"a": 1, "b": [2]}
    assert account.ask(call("stores", a=None, c=3), call("stores", d=4)) == [["b", [2]], ["c", 3], ["d", 4]]
    assert account.last.rows == {"a": None, "c": 3, "d": 4}
    assert [changed for *_, changed in account.last.replies] == [True, True]
    assert account.last.state is None


class Reminded(Actor, durable=True):
    def sets(self, name: str, **when: Any) -> None:
        self.remind(name, Reminded.comes, 1, two=2, **when)

    def drops(self, name: str) -> bool:
        return self.forget(name)

    def shows(self) -> Any:
        return {
            name: [reminder.every, reminder.method, reminder.args, reminder.kwargs]
            for name, reminder in self.reminders().items()
        }

    def many(self, first: int, count: int) -> None:
        for n in range(first, first + count):
            self.remind(str(n), "comes", delay=1)

    def comes(self, *args: Any, **kwargs: Any) -> Any:
        return [args, kwargs]


def test_reminders() -> None:
    stage = Stage(Reminded)
    before = time.time()
    stage.give(call("sets", "x", delay=5), call("sets", "y", at=7), call("sets", "z", every=9))
    rows = stage.last.reminders
    assert before + 5 <= (rows["x"][0] or 0) <= time.time() + 5
    assert rows["y"][:2] == (7.0, None)
    assert before + 9 <= (rows["z"][0] or 0) <= time.time() + 9
    assert rows["z"][1] == 9.0
    assert rows["x"][2] is not None
    letter = Letter.unpack(rows["x"][2])
    assert (letter.kind, letter.op, letter.path) == (Kind.REMINDER, Op.CALL, "comes")
    how = ["comes", [1], {"two": 2}]
    assert stage.ask(call("shows")) == {"x": [None, *how], "y": [None, *how], "z": [9.0, *how]}
    assert stage.ask(call("drops", "x"), call("shows")) == {"y": [None, *how], "z": [9.0, *how]}
    assert stage.last.reminders == {"x": (None, None, None)}
    assert stage.ask(call("drops", "x")) is False
    assert stage.give(letter.pack()).ending is Ending.REST


def test_a_reminder_that_never_comes_fits_the_store() -> None:
    stage = Stage(Reminded)
    stage.give(call("sets", "x", at=1e300), call("sets", "y", every=1e300))
    assert all((due or 0) < 1e12 and (every or 0) < 1e12 for due, every, _ in stage.last.reminders.values())


def test_an_actor_has_so_many_reminders() -> None:
    stage = Stage(Reminded)
    stage.give(call("many", 0, 1000))
    with pytest.raises(InvalidOption, match="1,000"):
        stage.ask(call("many", 1000, 1))
    assert stage.ask(call("many", 0, 5)) is None, "those that are set can be set anew"
    stage.reminders.pop("3")
    assert stage.ask(call("many", 1000, 1)) is None, "one has come"


# --- what is sent ---


def test_letters_leave_with_the_commit(account: Stage) -> None:
    targets = [new_id(), new_id()]
    account.give(call("tells", *targets), call("tells", targets[0]))
    assert account.last.posts == [(target, b"told", False) for target in (*targets, targets[0])]
    assert [changed for *_, changed in account.last.replies] == [True, True]


def test_an_actor_stops_itself_behind_what_was_sent_before(account: Stage) -> None:
    account.give(call("ends"))
    [(target, data, is_letter)] = account.last.posts
    assert (target, is_letter, Letter.unpack(data).kind) == (account.id, True, Kind.STOP)
    outcome = account.give(call("deposit", 2), data, call("deposit", 1))
    assert outcome.ending is Ending.VALUE
    assert outcome.value == values.pack("Ada: 2")
    assert account.last.acked == 3, "of the last turn: the letters behind it are not taken"
    assert account.kept is None


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


# --- rest ---


def test_passivation(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(Broken)
    stage.give()
    outcome = stage.give(what=1)
    assert (outcome.ending, outcome.value) == (Ending.REST, b"passive")
    assert stage.stored == {"started": -1}
    assert stage.kept is None
    stage.forget()
    assert stage.give(what=1).value == b"passive", "it is not built for that"
    assert len(stage.commits) == 2


def test_an_actor_goes_although_on_passivate_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(Broken)
    monkeypatch.setattr(Broken, "where", "on_passivate")
    stage.give()
    assert stage.give(what=1).value == b"passive"
    assert (stage.stored, stage.rows, stage.kept) == ({"started": 1}, {}, None)


def test_an_actor_asks_to_be_put_away(account: Stage) -> None:
    outcome = account.give(call("rests"), call("deposit", 1))
    assert (outcome.ending, outcome.value) == (Ending.REST, b"passive")
    assert account.kept is not None, "it goes in a turn of its own"
    assert account.give(call("deposit", 1)).value is None


# --- without a disk ---


class Plain(Actor):
    def __init__(self) -> None:
        self.things: list[Any] = [object()]
        self.failed: list[str] = []

    def on_receive(self, message: Any) -> Any:
        turn = turn_here()
        assert turn is not None
        self.things.append(message)
        turn.post(new_id(), b"told", True)
        if message == "fail":
            raise ValueError("no")
        return len(self.things)

    def uses(self, what: str) -> Any:
        if what == "remind":
            return self.remind("x", "uses", delay=1)
        return getattr(self, what)() if what != "storage" else self.storage

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.failed.append(str(exception_value))


def test_an_actor_without_a_disk_keeps_what_a_failed_message_has_changed() -> None:
    stage = Stage(Plain)
    with pytest.raises(ValueError, match="no"):
        stage.ask(message("fail"))
    assert stage.last.state is None
    assert len(stage.last.posts) == 1, "as in Pykka, what was told has left"
    assert stage.ask(message(1)) == 3


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


@pytest.mark.parametrize("what", ["storage", "remind", "reminders", "passivate"])
def test_what_needs_a_disk(what: str) -> None:
    with pytest.raises(InvalidOption, match="durable=True"):
        Stage(Plain).ask(call("uses", what))


# --- what only tasks have ---


class Tasklike(Actor, durable=True):
    def uses(self, what: str) -> Any:
        return {
            "receive": context.receive,
            "checkpoint": lambda: context.checkpoint(1),
            "restore": context.restore,
        }[what]()


class AsyncTasklike(Actor, durable=True):
    async def uses(self, what: str) -> Any:
        return await {
            "receive": aio.receive,
            "checkpoint": lambda: aio.checkpoint(1),
            "restore": aio.restore,
        }[what]()  # type: ignore[operator]


@pytest.mark.parametrize("cls", [Tasklike, AsyncTasklike])
@pytest.mark.parametrize("what", ["receive", "checkpoint", "restore"])
def test_the_api_of_tasks_is_refused(cls: type[Actor], what: str) -> None:
    with pytest.raises(NotInTask, match=f"{what} works only in a task. This is an actor: .*"):
        Stage(cls).ask(call("uses", what))


# --- waits ---


#: What is asked in a method, by the id of the letter.
answers: dict[bytes, Future[Any]] = {}


class Asker(Actor, durable=True):
    def __init__(self) -> None:
        self.got: list[Any] = []

    def asks(self, count: int, then: str = "") -> list[bytes]:
        turn = turn_here()
        assert turn is not None
        ids = []
        for _ in range(count):
            id = turn.next_ask_id()
            ids.append(id)
            turn.commit_earlier()
            future = answers.setdefault(id, Future())
            turn.wait_future(future, None)
            self.got.append(future.result())
            turn.answered(id)
        if then:
            raise ValueError(then)
        return ids

    def adds(self, what: Any) -> None:
        self.got.append(what)
        self.storage["x"] = what

    @read_only
    def peek(self) -> Any:
        return [self.got, self.storage.get("x"), self.message_id]


class AsyncAsker(Actor, durable=True):
    def __init__(self) -> None:
        self.got: list[Any] = []

    async def asks(self, count: int, then: str = "") -> list[bytes]:
        turn: Any = turn_here()
        ids = []
        for _ in range(count):
            id = turn.next_ask_id()
            ids.append(id)
            turn.commit_earlier()
            future = answers.setdefault(id, Future())
            await turn.wait_future_async(future, None)
            self.got.append(future.result())
            turn.answered(id)
        if then:
            raise ValueError(then)
        return ids

    async def adds(self, what: Any) -> None:
        self.got.append(what)
        self.storage["x"] = what

    @read_only
    def peek(self) -> Any:
        return [self.got, self.storage.get("x"), self.message_id]


@pytest.fixture(params=[Asker, AsyncAsker], ids=["sync", "async"])
def asker(request: pytest.FixtureRequest) -> Stage:
    answers.clear()
    return Stage(request.param)


def answer(letter: Letter, n: int, value: Any) -> None:
    """Answer ask number n of a letter."""
    id = asked_id(letter.id, n)
    until(lambda: id in answers)
    answers[id].set_result(value)


def test_what_came_before_is_committed_before_a_wait(asker: Stage) -> None:
    asker.give()
    asked = call("asks", 1)
    turn = asker.in_thread(call("adds", 1), asked, call("adds", 2))
    asker.waits()
    assert (asker.last.acked, asker.last.now, asker.last.state) == (1, True, {"got": [1]})
    assert asker.last.rows == {"x": 1}
    answer(asked, 0, "yes")
    turn.join()
    assert (asker.last.acked, asker.last.state) == (3, {"got": [1, "yes", 2]})
    assert asker.last.rows == {"x": 2}, "what was sent before is not sent again"
    assert asker.last.seen == [asked_id(asked.id, 0)]
    assert asker.parked_count == asker.resumed_count == 1


def test_a_message_that_is_handled_again_asks_under_the_same_ids(asker: Stage) -> None:
    asker.give()
    asked = call("asks", 2)
    turn = asker.in_thread(asked)
    answer(asked, 0, "one")
    until(lambda: asked_id(asked.id, 1) in answers)
    assert asker.turn is not None
    asker.waits()
    asker.turn.interrupt()
    turn.join()
    assert asker.outcomes[-1].ending is Ending.INTERRUPTED
    assert len(asker.commits) == 1, "no message was dealt with"
    assert asker.object.got == []
    answer(asked, 1, "two")
    assert asker.ask(asked) == [asked_id(asked.id, 0), asked_id(asked.id, 1)]
    assert asker.stored == {"got": ["one", "two"]}


def test_the_error_of_a_message_that_has_asked_is_kept(asker: Stage) -> None:
    asker.give()
    asked = call("asks", 1, "no")
    turn = asker.in_thread(asked)
    answer(asked, 0, "one")
    turn.join()
    assert [changed for *_, changed in asker.last.replies] == [True]
    assert asker.last.seen == [asked_id(asked.id, 0)]
    assert asker.last.state is None


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


def test_a_turn_that_is_to_stop_takes_no_message(stage: Stage) -> None:
    stage.give()
    for stop in (lambda turn: turn.interrupt(), lambda turn: turn.stop_for("cancel")):
        told = tell("deposit", 1)
        stage.begin(told)
        stop(stage.turn)
        stage.run()
    assert len(stage.commits) == 1
    assert stage.object.balance == 0


# --- threads of a method ---


def test_what_helper_threads_report_is_whole(account: Stage) -> None:
    """A report of another thread comes between two messages or not at all."""

    class Busy(Actor, durable=True):
        def __init__(self) -> None:
            self.count = 0

        def adds(self) -> None:
            self.count += 1
            self.storage[str(self.count)] = self.count

    stage = Stage(Busy)
    stage.give()
    over = threading.Event()
    stage.begin(*(tell("adds") for _ in range(500)))
    turn = stage.turn
    assert turn is not None

    def report() -> None:
        while not over.is_set():
            turn.commit_earlier()

    thread = threading.Thread(target=report)
    thread.start()
    while not stage.outcomes[1:] or stage._acked < 500:
        turn._start_actor_loop()
        if stage._acked < 500:
            stage.begin(*(tell("adds") for _ in range(500 - stage._acked)))
            assert stage.turn is not None
            turn = stage.turn
    over.set()
    thread.join()
    written = 0
    for commit in stage.commits[1:]:
        written += len(commit.rows)
        assert commit.acked == written
        assert commit.state is None or commit.state["count"] == written

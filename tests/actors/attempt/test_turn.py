"""Turns of actors with a host in memory. What sync and async ones have in common is tried with both."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from turns_actors import Account, AsyncAccount, Broken
from turns_stage import Stage, call, get, tell
from understudy.actors.attempt import turn as turn_module
from understudy.actors.attempt.host import Ending
from understudy.actors.ids import new_id
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import KEPT, Kind, Letter, Op
from understudy.actors.refs.read_only import read_only

# --- the object ---


@pytest.fixture(params=[Account, AsyncAccount], ids=["sync", "async"])
def stage(request: pytest.FixtureRequest) -> Stage:
    return Stage(request.param)


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
    stage.turn.effects.asked = {b"": 1}
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


def test_a_turn_takes_so_long(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn_module, "TURN_SECONDS", 0.0)
    stage.give(*(call("deposit", 1) for _ in range(5)))
    assert stage.last.acked == 1


class Held(Actor, durable=True):
    """Adds up, and may be held up in a method."""

    transient = ("held", "gate")

    def __init__(self) -> None:
        self.sum = 0

    def on_start(self) -> None:
        self.held, self.gate = threading.Event(), threading.Event()

    def add(self, n: int) -> int:
        self.sum += n
        return self.sum

    def hold(self) -> None:
        self.sum += 100
        self.held.set()
        assert self.gate.wait(20)


def test_what_is_done_is_reported_while_the_next_message_takes_long() -> None:
    stage = Stage(Held)
    stage.give()
    held, gate = stage.object.held, stage.object.gate
    letters = [call("add", 1), call("add", 2), call("hold"), call("add", 4)]
    thread = stage.in_thread(*letters)
    assert held.wait(20)
    turn = stage.turn
    assert turn is not None
    assert stage.watched == [turn]
    assert not turn.takes_long()
    turn._end = 0.0  # as some milliseconds later
    assert turn.takes_long()
    assert stage.at == [3]
    assert (stage.last.acked, stage.last.state, stage.last.now) == (2, {"sum": 3}, True)
    assert [stage.answer(letter) for letter in letters[:2]] == [1, 3]
    gate.set()
    thread.join(20)
    assert (stage.last.acked, stage.last.state) == (3, {"sum": 103}), "other actors have their turns now"


def test_a_message_alone_is_not_watched(account: Stage) -> None:
    account.give(call("deposit", 1))
    assert account.watched == []


def test_a_letter_that_was_taken_back_is_skipped(stage: Stage) -> None:
    stage.give(call("deposit", 1), b"", call("deposit", 1))
    assert stage.last.acked == 3
    assert stage.stored["balance"] == 2


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


def test_a_turn_that_is_to_stop_takes_no_message(stage: Stage) -> None:
    stage.give()
    for stop in (lambda turn: turn.interrupt(), lambda turn: turn.stop_for("cancel")):
        told = tell("deposit", 1)
        stage.begin(told)
        stop(stage.turn)
        stage.run()
    assert len(stage.commits) == 1
    assert stage.object.balance == 0

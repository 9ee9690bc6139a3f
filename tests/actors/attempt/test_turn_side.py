"""What the code of an actor reaches in a turn: storage, reminders, sending."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Any

import pytest

from turns_actors import Plain, answer, answers
from turns_stage import Stage, call, message
from understudy.actors import values
from understudy.actors.attempt.host import Ending
from understudy.actors.errors import (
    InvalidOption,
    NotInTask,
)
from understudy.actors.ids import id_text, new_id
from understudy.actors.inside import aio, context
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import Kind, Letter, Op, asked_id
from waiting import until


def test_the_id_of_a_message() -> None:
    class Says(Actor, durable=True):
        def on_receive(self, message: Any) -> Any:
            return [self.message_id, self.actor_ref.id, self.actor_urn]

    stage = Stage(Says)
    asked = message(0)
    id = id_text(stage.id)
    assert stage.ask(asked) == [id_text(asked.id), id, f"urn:uuid:{id}"]


# --- storage and reminders ---


def test_storage_goes_with_the_commit(account: Stage) -> None:
    assert account.ask(call("stores", a=1, b=[2])) == [["a", 1], ["b", [2]]]
    assert account.last.rows == {"a": 1, "b": [2]}
    assert account.ask(call("stores", a=None, c=3), call("stores", d=4)) == [["b", [2]], ["c", 3], ["d", 4]]
    assert account.last.rows == {"a": None, "c": 3, "d": 4}
    assert [changed for *_, changed in account.last.replies] == [True, True]
    assert account.last.state is None


class AsyncReader(Actor, durable=True):
    async def reads(self) -> Any:
        return await asyncio.to_thread(lambda: list(self.storage.items()))


def test_an_async_method_reads_on_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop must be free meanwhile: it is what brings the rows here."""
    stage = Stage(AsyncReader)

    def read(*_: Any, **__: Any) -> Future[Any]:
        rows: Future[Any] = Future()
        assert stage.loop is not None
        stage.loop.call_soon_threadsafe(rows.set_result, [("x", values.pack(1))])
        return rows

    monkeypatch.setattr(stage, "read", read)
    assert stage.ask(call("reads")) == [["x", 1]]


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


def test_a_message_that_is_handled_again_asks_under_the_same_ids(asker: Stage) -> None:
    asker.give()
    asked = call("asks", 2)
    turn = asker.in_thread(asked)
    answer(asked, 0, "one")
    until(lambda: asked_id(asked.id, b"", 1) in answers)
    assert asker.turn is not None
    asker.waits()
    asker.turn.interrupt()
    turn.join()
    assert asker.outcomes[-1].ending is Ending.INTERRUPTED
    assert len(asker.commits) == 1, "no message was dealt with"
    assert asker.object.got == []
    answer(asked, 1, "two")
    assert asker.ask(asked) == [asked_id(asked.id, b"", 0), asked_id(asked.id, b"", 1)]
    assert asker.stored == {"got": ["one", "two"]}

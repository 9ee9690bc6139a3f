"""Actors for tests of turns: an account, one that breaks in its hooks, one that asks others."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

from understudy.actors.errors import (
    Fail,
    RetryLater,
)
from understudy.actors.ids import new_id
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import Letter, asked_id
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


class Plain(Actor):
    def __init__(self) -> None:
        self.things: list[Any] = [object()]
        self.failed: list[str] = []

    def on_receive(self, message: Any) -> Any:
        turn = turn_here()
        assert turn is not None
        self.things.append(message)
        turn.post(new_id(), b"told", True)
        if isinstance(message, int) and message > 100:
            turn.post(new_id(), bytes(message), True)
        if message == "fail":
            raise ValueError("no")
        return len(self.things)

    def uses(self, what: str) -> Any:
        if what == "remind":
            return self.remind("x", "uses", delay=1)
        return getattr(self, what)() if what != "storage" else self.storage

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.failed.append(str(exception_value))


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
            id = turn.next_ask_id(b"")
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
            id = turn.next_ask_id(b"")
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


def answer(letter: Letter, n: int, value: Any) -> None:
    """Answer ask number n of a letter."""
    id = asked_id(letter.id, b"", n)
    until(lambda: id in answers)
    answers[id].set_result(value)

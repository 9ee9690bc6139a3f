"""Actors in a `Room`: their requests as a client sends them, their turns as a worker reports them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from room import Puppet, Room, declared, room
from understudy.actors.attempt.host import Assignment, Ending
from understudy.actors.errors import UnderstudyError
from understudy.actors.ids import new_id
from understudy.actors.refs.letter import Kind, Letter, Op
from understudy.supervisor.execution.dispatcher import Dispatcher
from understudy.supervisor.execution.turns import Turns
from understudy.supervisor.tasks.live_actor import LiveActor
from understudy.supervisor.wire.messages import Report

#: The classes of the app.
CLASSES: dict[str, dict[str, Any]] = {}


def actor_class(**rules: Any) -> dict[str, Any]:
    """A class of actors, as a fork server reports it."""
    options = {name: rules.pop(name) for name in ("timeout", "grace", "isolate", "is_async") if name in rules}
    usual = {
        "durable": True,
        "idle": None,
        "reply_keep": 3600.0,
        "on_passivate": False,
        "read_only": ["peek"],
    }
    return {**declared(**options), "actor": {**usual, **rules}}


CLASSES.update(
    {
        "Account": actor_class(),
        "Brief": actor_class(idle=0.01),
        "Polite": actor_class(idle=0.01, on_passivate=True),
        "Volatile": actor_class(durable=False),
        "Slow": actor_class(timeout=0.01, grace=0.02),
        "Absent": actor_class(),
        "Lasting": actor_class(idle=600.0),
        "quick": declared(),
    }
)


def letter(
    kind: Kind = Kind.TELL, *, flags: int = 0, id: bytes | None = None, sender: bytes | None = None
) -> bytes:
    """A call of the method `deposit`."""
    return Letter(kind, flags, id or new_id(), sender, Op.CALL, "deposit").pack()


def on_stage(story: Callable[[Stage], Awaitable[None]]) -> Callable[[Path], None]:
    """A test that is told on a stage of its own, with two workers.

    A turn stays with the worker that was given it, however long the test takes to begin it.
    """

    def test(home: Path) -> None:
        async def told() -> None:
            async with room(home, tasks=CLASSES, workers=2) as it:
                await story(Stage(it))

        with patch.object(Dispatcher, "_room_elsewhere", return_value=False):
            asyncio.run(told())

    test.__name__ = test.__qualname__ = story.__name__  # type: ignore[attr-defined]
    return test


class Client:
    """The answers that a client gets."""

    def __init__(self) -> None:
        self.asks: dict[int, bytes] = {}
        self.answers: dict[int, Any] = {}

    def answer(self, request: int, payload: Any = None) -> None:
        assert request not in self.answers, "one answer to each request"
        self.answers[request] = payload

    def reply(self, request: int, payload: bytes | None = None) -> None:
        self.answer(request, payload)

    def refuse(self, request: int, error: UnderstudyError) -> None:
        self.answer(request, error)

    def flush(self) -> None:
        pass


class Stage:
    """One room with a client; its actors."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.turns: Turns = room.core.turns
        self.requests = room.service._actors
        self.client = Client()
        self._number = 0

    def start(
        self, class_name: str = "Account", name: str | None = "ada", args: bytes | None = None
    ) -> bytes:
        """Get an actor or start it."""
        id = new_id()
        there, _ = self.requests.start((id, class_name, name, args, None, id, None))
        return there

    def tell(self, id: bytes, *letters: bytes) -> None:
        self.requests.tell([(id, each) for each in letters or (letter(),)])

    def ask(self, id: bytes, asked: bytes | None = None, seen: Iterable[bytes] = ()) -> int:
        """Ask; the number of the request."""
        self._number += 1
        client: Any = self.client
        self.requests.ask(client, self._number, id, asked or letter(Kind.ASK), tuple(seen))
        return self._number

    def actor(self, id: bytes) -> LiveActor:
        actor = self.turns.letters.find(id)
        assert actor is not None
        return actor

    async def begin(self, worker: Puppet) -> list[Assignment]:
        """The turns that a worker begins now."""
        await self.room.settle()
        return worker.begin()


def commit(
    worker: Puppet,
    id: bytes,
    acked: int = 0,
    state: bytes | None = None,
    *,
    rows: Any = (),
    posts: Any = (),
    reminders: Any = (),
    replies: Any = (),
    dead: Any = (),
    seen: Any = (),
) -> None:
    """Report what a turn has done."""
    worker.report(
        Report.TURN,
        id,
        acked,
        state,
        [list(rows)],
        list(posts),
        list(reminders),
        list(replies),
        list(dead),
        list(seen),
    )


def rest(worker: Puppet, id: bytes, acked: int = 0, state: bytes | None = None, **did: Any) -> None:
    """A turn has done this and is over."""
    commit(worker, id, acked, state, **did)
    worker.done(id, Ending.REST)


async def built(stage: Stage, class_name: str = "Account", name: str = "ada") -> tuple[bytes, Any]:
    """An actor that has been built, and its worker."""
    id = stage.start(class_name, name)
    for worker in stage.room.workers:
        if await stage.begin(worker):
            rest(worker, id, state=b"0" if class_name != "Volatile" else None)
            await stage.room.settle()
            return id, worker
    raise AssertionError("no worker was given its first turn")


async def turn(stage: Stage, id: bytes) -> Any:
    """The worker that has begun a turn of this actor now."""
    await stage.room.settle()
    for worker in stage.room.workers:
        if worker.seat in stage.room.pool.seats and id in [each.id for each in worker.begin()]:
            return worker
    raise AssertionError("no worker was given a turn")

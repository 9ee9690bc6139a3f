"""A stage for actors: an in-memory host that real actors perform on, sync ones on threads, async ones on a loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from understudy.actors import values
from understudy.actors.attempt.actor import TaskActor
from understudy.actors.attempt.async_actor import AsyncTaskActor
from understudy.actors.attempt.host import Assignment, Outcome
from understudy.actors.clock import SYSTEM
from understudy.actors.ids import new_id
from understudy.actors.inside import aio, context
from understudy.actors.task.declaration import Task
from understudy.actors.task.options import Options
from understudy.actors.websocket import api as ws

#: Seconds that anything here may take.
PATIENCE = 20.0


class Play:
    """One performance: its actor, and what the host has seen of it."""

    def __init__(self, stage: Stage, actor: TaskActor) -> None:
        self.stage = stage
        self.actor = actor
        self.outcomes: list[Outcome] = []
        self.parked = 0
        self.resumed = 0
        #: (taken, acked) at every messages_taken.
        self.told: list[tuple[int, int]] = []
        self.checkpoints: list[tuple[Any, int, list[tuple[bytes, Any]]]] = []
        self.logged: list[tuple[str, str]] = []
        self.progress: list[tuple[float, float | None, str]] = []
        self.marks: list[Any] = []
        self.sent = 0

    def mark(self, what: Any) -> None:
        """Called by the task's code: it got here."""
        with self.stage.changed:
            self.marks.append(what)
            self.stage.changed.notify_all()

    def until(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait for it: looks at every change of the stage, and now and then, for an actor changes silently."""
        deadline = time.monotonic() + PATIENCE
        with self.stage.changed:
            while not condition():
                assert time.monotonic() < deadline, f"never came: {what or condition}; {vars(self)}"
                self.stage.changed.wait(0.002)

    def until_marked(self, what: Any) -> None:
        self.until(lambda: what in self.marks, repr(what))

    def until_waiting(self) -> None:
        self.until(lambda: self.parked == self.resumed + 1, "waiting")
        if isinstance(self.actor, AsyncTaskActor):
            # It tells so just before its `await`. After another turn of the loop it is there.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.stage.loop).result(PATIENCE)

    def tell(self, *messages: Any) -> None:
        self.actor.tell(self.sent + 1, [values.pack(message) for message in messages])
        self.sent += len(messages)

    def outcome(self) -> Outcome:
        """How it ended, once; the waits are balanced by then."""
        self.until(lambda: self.outcomes, "the end")
        assert len(self.outcomes) == 1
        assert self.parked == self.resumed
        assert self.actor.inbox.rings == ()
        return self.outcomes[0]

    def value(self) -> Any:
        outcome = self.outcome()
        assert outcome.error is None, outcome.error[2]
        return None if outcome.value is None else values.unpack(outcome.value)


class Stage:
    """Implements `Host`. `answer` decides when and how a checkpoint or restore is answered."""

    clock = SYSTEM
    calls = None

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.plays: dict[TaskActor, Play] = {}
        self.stored: dict[bytes, bytes] = {}
        #: Answers held back, while `hold` is set.
        self.hold = False
        self.held: list[tuple[Future[Any], Any]] = []
        self.refuse: Exception | None = None
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- for the test ---

    def perform(self, body: Callable[..., Any], *args: Any, now: bool = True, **assigned: Any) -> Play:
        """Start a task with this body. Its options go into `assigned`; with now=False `begin` has yet to be called."""
        task: Task[..., Any] = Task(body, "tests:body", Options())
        assignment = Assignment(
            id=assigned.pop("id", None) or new_id(),
            task=task.name,
            attempt=assigned.pop("attempt", 1),
            args=values.pack([list(args), {}]) if args else None,
            stream=assigned.pop("stream", None) or new_id(),
            origin=assigned.pop("origin", None),
            ack=assigned.pop("ack", None),
            timeout=assigned.pop("timeout", None),
            has_checkpoint=assigned.pop("has_checkpoint", False),
            interruptions=assigned.pop("interruptions", 0),
        )
        assert not assigned
        actor = (
            AsyncTaskActor(assignment, task, self, self.loop)
            if task.is_async
            else TaskActor(assignment, task, self)
        )
        play = self.plays[actor] = Play(self, actor)
        if now:
            self.begin(play)
        return play

    def begin(self, play: Play) -> None:
        if isinstance(play.actor, AsyncTaskActor):
            play.actor._start_actor_loop()
            return
        thread = threading.Thread(target=play.actor._start_actor_loop)
        self._threads.append(thread)
        thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            thread = threading.Thread(target=self._loop.run_forever)
            self._threads.append(thread)
            thread.start()
        return self._loop

    def release(self) -> None:
        """Give the answers that were held back."""
        self.hold = False
        while self.held:
            future, result = self.held.pop(0)
            future.set_result(result)

    def close(self) -> None:
        self.release()
        for play in self.plays.values():
            if not play.outcomes:
                play.actor.interrupt()
                play.actor.stop_for("cancel")
        for play in self.plays.values():
            play.until(lambda play=play: play.outcomes, "the end, at the test's")
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        if self._loop is not None:
            left = asyncio.all_tasks(self._loop)
            assert not left, left
            self._loop.close()

    # --- Host ---

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        self._note(actor, lambda play: play.outcomes.append(outcome))

    def parked(self, actor: TaskActor) -> None:
        self._note(actor, lambda play: setattr(play, "parked", play.parked + 1))
        assert self.plays[actor].parked == self.plays[actor].resumed + 1

    def resumed(self, actor: TaskActor) -> None:
        self._note(actor, lambda play: setattr(play, "resumed", play.resumed + 1))
        assert self.plays[actor].parked == self.plays[actor].resumed

    def messages_taken(self, actor: TaskActor) -> None:
        self._note(actor, lambda play: play.told.append((actor.taken, actor.acked)))

    def checkpoint(
        self,
        actor: TaskActor,
        value: bytes,
        acked: int,
        letters: list[tuple[bytes, bytes]],
        items: list[bytes],
        events: list[Any],
    ) -> Future[Any]:
        sent = [(id, values.unpack(message)) for id, message in letters]
        if self.refuse is None:
            self.stored[actor.id] = value
            self._note(actor, lambda play: play.checkpoints.append((values.unpack(value), acked, sent)))
        return self._answer(None)

    def restore(self, actor: TaskActor) -> Future[Any]:
        return self._answer(self.stored.get(actor.id))

    def progress(self, actor: TaskActor, done: float, total: float | None, note: str) -> None:
        self._note(actor, lambda play: play.progress.append((done, total, note)))

    def log(self, actor: TaskActor, level: str, text: str) -> None:
        self._note(actor, lambda play: play.logged.append((level, text)))

    def _answer(self, result: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self.refuse is not None:
            future.set_exception(self.refuse)
        elif self.hold:
            self.held.append((future, result))
        else:
            threading.Thread(target=future.set_result, args=(result,)).start()
        return future

    def _note(self, actor: TaskActor, change: Callable[[Play], object]) -> None:
        with self.changed:
            change(self.plays[actor])
            self.changed.notify_all()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


class _BlockingWs:
    """The same for WebSockets."""

    @staticmethod
    async def connect(url: str, **options: Any) -> Any:
        return ws.connect(url, **options)

    @staticmethod
    async def send(conn: Any, data: Any, timeout: float | None = None) -> None:
        ws.send(conn, data, timeout)

    @staticmethod
    async def receive(conn: Any, timeout: float | None = None) -> Any:
        return ws.receive(conn, timeout)

    @staticmethod
    async def close(conn: Any, code: int = 1000, reason: str = "") -> None:
        ws.close(conn, code, reason)

    @staticmethod
    async def select(*sources: Any, timeout: float | None = None) -> Any:
        return ws.select(*sources, timeout=timeout)


class _Blocking:
    """The sync API behind the names of the async one: nothing here ever suspends."""

    ws = _BlockingWs

    @staticmethod
    async def receive(timeout: float | None = None) -> Any:
        return context.receive(timeout)

    @staticmethod
    async def sleep(seconds: float) -> bool:
        return context.sleep(seconds)

    @staticmethod
    async def checkpoint(value: Any, **send: Any) -> bool:
        return context.checkpoint(value, **send)

    @staticmethod
    async def restore(task_id: str | None = None) -> Any:
        return context.restore(task_id)


Scenario = Callable[[Any], Coroutine[Any, Any, Any]]
Flavour = Callable[[Scenario], Callable[..., Any]]


def _sync(scenario: Scenario) -> Callable[..., Any]:
    def body() -> Any:
        coroutine = scenario(_Blocking)
        try:
            coroutine.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("a blocking call has suspended")

    return body


def _async(scenario: Scenario) -> Callable[..., Any]:
    async def body() -> Any:
        return await scenario(aio)

    return body


@pytest.fixture(params=["sync", "async"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    """Makes a body of a scenario, `async def scenario(api)`: one with the blocking API, or one with `aio`."""
    made: Flavour = _sync if request.param == "sync" else _async
    return made

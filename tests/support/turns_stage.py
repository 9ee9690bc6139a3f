"""A host for turns of actors, in memory: what is committed is there for the next turn, and nothing else is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, ClassVar

import msgpack

from understudy.actors import values
from understudy.actors.attempt.actor import TaskActor
from understudy.actors.attempt.async_turn import AsyncTurnActor
from understudy.actors.attempt.effects import Effects, Post
from understudy.actors.attempt.host import Assignment, Ending, Outcome
from understudy.actors.attempt.resident import Resident
from understudy.actors.attempt.transactions import Transactions
from understudy.actors.attempt.turn import TurnActor
from understudy.actors.clock import SYSTEM
from understudy.actors.ids import new_id
from understudy.actors.refs.actor import Actor
from understudy.actors.refs.letter import Kind, Letter, Op
from understudy.actors.refs.remote_error import unpack_reply
from understudy.supervisor.rules.report_checks import check_aside, check_turn
from waiting import until


def call(method: str, *args: Any, kind: Kind = Kind.ASK, flags: int = 0, **kwargs: Any) -> Letter:
    """A letter that calls a method."""
    payload = values.pack([args, kwargs]) if args or kwargs else None
    return Letter(kind, flags, new_id(), None, Op.CALL, method, payload)


def tell(method: str, *args: Any, **kwargs: Any) -> Letter:
    """The same without an answer."""
    return call(method, *args, kind=Kind.TELL, **kwargs)


def message(content: Any, kind: Kind = Kind.ASK) -> Letter:
    """A letter for `on_receive`."""
    return Letter(kind, 0, new_id(), None, Op.MESSAGE, None, values.pack(content))


def get(path: str) -> Letter:
    """A letter that reads an attribute."""
    return Letter(Kind.ASK, 0, new_id(), None, Op.GET, path)


def put(path: str, value: Any) -> Letter:
    """A letter that sets an attribute."""
    return Letter(Kind.ASK, 0, new_id(), None, Op.SET, path, values.pack(value))


def _sent(report: Any) -> Any:
    """A report as it arrives at the supervisor."""
    return msgpack.unpackb(msgpack.packb(report, default=list), use_list=False)


STOP = Letter(Kind.STOP, 0, new_id(), None)


class Commit:
    """One commit, as a turn has reported it."""

    def __init__(self, acked: int, state: bytes | None, effects: Effects, *, now: bool) -> None:
        self.acked = acked
        self.state = None if state is None else values.unpack(msgpack.unpackb(state)[1])
        self.rows = {key: None if row is None else values.unpack(row) for key, row in effects.rows.items()}
        self.posts = effects.posts
        self.reminders = effects.reminders
        self.replies = effects.replies
        self.dead = effects.dead
        self.seen = effects.seen
        self.now = now


class Stage:
    """One actor and what is on its disk. Implements `Host`."""

    home = "/nowhere"
    clock = SYSTEM
    calls = None
    made: ClassVar[list[Stage]] = []
    """Those that are to be closed."""

    def __init__(self, cls: type[Actor], *args: Any, **kwargs: Any) -> None:
        self.cls = cls
        self.task = cls._understudy_task
        self.id = new_id()
        self.args = values.pack([args, kwargs]) if args or kwargs else None
        self.timeout = 60.0
        self.generation = 1
        #: On disk.
        self.state: bytes | None = None
        self.rows: dict[str, bytes] = {}
        self.reminders: dict[str, bytes] = {}
        #: In the worker.
        self.kept: Resident | None = None
        #: What was reported, in order: commits, answers aside, the ends of turns.
        self.commits: list[Commit] = []
        self.asides: list[tuple[bytes, bytes]] = []
        self.sent_aside: list[Post] = []
        self.outcomes: list[Outcome] = []
        self.reads: list[tuple[Any, ...]] = []
        self.logged: list[tuple[str, str]] = []
        #: Turns that asked to be watched, and what they said then.
        self.watched: list[Transactions] = []
        self.at: list[int] = []
        self.suspended_count = 0
        self.parked_count = self.resumed_count = self.flushed = 0
        self.building = False
        self.turn: TurnActor | None = None
        self.threads: list[threading.Thread] = []
        self.loop = asyncio.new_event_loop() if self.task.is_async else None
        self.over = asyncio.Event()
        self._acked = 0
        self.made.append(self)

    # --- for tests ---

    def give(self, *letters: Letter | bytes, what: int = 0, tries: int = 0) -> Outcome:
        """A turn with these letters, and its end."""
        self.begin(*letters, what=what, tries=tries)
        return self.run()

    def run(self) -> Outcome:
        """Run the turn that was made."""
        assert self.turn is not None
        if self.loop is not None:
            self.loop.run_until_complete(self._run_async())
        else:
            self.turn._start_actor_loop()
        return self.outcomes[-1]

    def begin(self, *letters: Letter | bytes, what: int = 0, tries: int = 0) -> None:
        """Make the turn; it does not run yet."""
        is_here = self.kept is not None
        packed = [letter if isinstance(letter, bytes) else letter.pack() for letter in letters]
        state = None if is_here else self.state
        turn = (self.generation, is_here, state, packed, what, tries, self._acked + 1)
        stream = bytes(16)
        assignment = Assignment(
            self.id, self.task.name, 1, self.args, stream, None, None, self.timeout, False, 0, False, turn
        )
        resident, self.kept = self.kept, None
        if self.loop is not None:
            self.turn = AsyncTurnActor(assignment, self.task, self, resident, self.loop)
        else:
            self.turn = TurnActor(assignment, self.task, self, resident)

    def in_thread(self, *letters: Letter, **how: Any) -> threading.Thread:
        """A turn that runs on another thread."""
        thread = threading.Thread(target=self.give, args=letters, kwargs=how)
        self.threads.append(thread)
        thread.start()
        return thread

    def waits(self) -> None:
        """Wait until the method waits."""
        until(lambda: self.turn is not None and self.turn.waits)

    async def _run_async(self) -> None:
        assert self.turn is not None
        self.over.clear()
        self.turn._start_actor_loop()
        await self.over.wait()
        await asyncio.sleep(0)  # what it leaves for the loop to call

    def ask(self, *letters: Letter, **how: Any) -> Any:
        """What the last of these letters is answered with, in a turn of their own."""
        self.give(*letters, **how)
        return self.answer(letters[-1])

    def answer(self, letter: Letter) -> Any:
        """The answer to a letter; raises its error."""
        replies = dict(self.asides)
        for commit in self.commits:
            replies.update({id: reply for id, reply, _ in commit.replies})
        return unpack_reply(replies[letter.id])

    def forget(self) -> None:
        """Its worker has died, or its object was put away."""
        self.kept = None
        self.generation += 1

    @property
    def last(self) -> Commit:
        """The last commit."""
        return self.commits[-1]

    @property
    def object(self) -> Any:
        """The object that is in memory."""
        assert self.kept is not None
        return self.kept.object

    @property
    def stored(self) -> Any:
        """The attributes on disk."""
        assert self.state is not None
        return values.unpack(msgpack.unpackb(self.state)[1])

    def close(self) -> None:
        """Wait for its threads."""
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        if self.loop is not None:
            self.loop.close()

    # --- Host ---

    def commit(
        self, turn: Transactions, acked: int, state: bytes | None, effects: Effects, *, now: bool
    ) -> None:
        assert not self.outcomes or turn is self.turn
        report = (
            acked, state, [effects.rows.items()], [effects.posts],
            [(name, *row) for name, row in effects.reminders.items()], effects.replies, effects.dead, effects.seen,
        )  # fmt: skip
        check_turn(*_sent(report), turn.value_limit)
        commit = Commit(acked, state, effects, now=now)
        self.commits.append(commit)
        self._acked = acked
        if state is not None:
            self.state = state
        for key, row in effects.rows.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        for name, reminder in effects.reminders.items():
            if reminder[0] is None:
                self.reminders.pop(name, None)
            else:
                self.reminders[name] = msgpack.packb(reminder)

    def read(
        self, turn: Transactions, what: str, key: str, after: str | None, limit: int, *, reverse: bool
    ) -> Future[Any]:
        self.reads.append((what, key, after, limit, reverse))
        future: Future[Any] = Future()
        if what == "row":
            future.set_result(self.rows.get(key))
        elif what == "reminders":
            future.set_result(sorted(self.reminders.items()))
        else:
            future.set_result(self._found(key, after, reverse=reverse)[:limit])
        return future

    def _found(self, prefix: str, after: str | None, *, reverse: bool) -> list[tuple[str, bytes]]:
        return [
            (key, row)
            for key, row in sorted(self.rows.items(), reverse=reverse)
            if key.startswith(prefix) and (after is None or (key < after if reverse else key > after))
        ]

    def aside(self, turn: Transactions, letter_id: bytes, reply: bytes, posts: list[Post]) -> None:
        check_aside(letter_id, reply, [posts], turn.value_limit)
        self.asides.append((letter_id, reply))
        self.sent_aside += posts

    def watch(self, turn: Transactions) -> None:
        self.watched.append(turn)

    def is_at(self, turn: Transactions) -> None:
        assert turn is self.turn
        self.at.append(self.turn.at)

    def suspended(self, turn: Transactions) -> None:
        self.suspended_count += 1

    def beside(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()

    def builds(self, turn: Transactions) -> None:
        self.building = True

    def built(self, turn: Transactions) -> None:
        self.building = False

    def keep(self, turn: Transactions, resident: Resident) -> None:
        self.kept = resident

    def flush(self) -> None:
        self.flushed += 1

    def ended(self, actor: TaskActor, outcome: Outcome) -> None:
        assert actor is self.turn
        self.outcomes.append(outcome)
        self.over.set()

    def parked(self, actor: TaskActor) -> None:
        self.parked_count += 1

    def resumed(self, actor: TaskActor) -> None:
        self.resumed_count += 1

    def messages_taken(self, actor: TaskActor) -> None:
        raise AssertionError("a turn reports what it has done, not what it has taken")

    def checkpoint(self, *_: Any) -> Future[Any]:
        raise AssertionError("actors make no checkpoints")

    def restore(self, *_: Any) -> Future[Any]:
        raise AssertionError("actors make no checkpoints")

    def progress(self, actor: TaskActor, done: float, total: float | None, note: str) -> None:
        raise AssertionError("not used here")

    def folder(self, actor: TaskActor) -> Any:
        raise AssertionError("not used here")

    def log(self, actor: TaskActor, level: str, text: str, at: float | None = None) -> None:
        self.logged.append((level, text))


def endings(outcomes: Iterable[Outcome]) -> list[Ending]:
    """How turns have ended."""
    return [outcome.ending for outcome in outcomes]

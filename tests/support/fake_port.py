"""A port that runs actors on threads of this process, for the tests of references. It keeps nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from understudy import Actor, ActorRef, State
from understudy.actors import values
from understudy.actors.attempt.host import describe
from understudy.actors.errors import ActorDeadError, TaskNotFound
from understudy.actors.ids import id_bytes, id_text, new_id
from understudy.actors.refs.actor import task_of
from understudy.actors.refs.letter import KEPT, WAITS, Kind, Letter, Op, asked_id
from understudy.actors.refs.methods import attribute_at, set_attribute_at
from understudy.actors.refs.remote_error import details_of, pack_error, pack_value
from understudy.actors.task import current_actor, current_runtime
from understudy.actors.task.handles import TaskRecord

PATIENCE = 20


class FakePort:
    """Every letter that it gets is in `letters`, with the id of its actor."""

    def __init__(self) -> None:
        self.letters: list[tuple[bytes, Letter]] = []
        self.live: dict[bytes, LiveActor] = {}
        self.dead: dict[bytes, LiveActor] = {}
        self.kept: dict[bytes, Future[bytes]] = {}
        self.pending: dict[bytes, Future[bytes]] = {}

    def actor(self, cls: Any, name: str | None = None, /, *args: Any, **kwargs: Any) -> Any:
        if name is not None and (there := self.lookup(cls, name)) is not None:
            return there
        task_of(cls).check_start(args, kwargs)
        made = LiveActor(self, cls, name, args, kwargs)
        self.live[made.id] = made
        made.thread.start()
        return made.ref

    def lookup(self, cls: Any, name: str) -> Any:
        return next((each.ref for each in self.live.values() if (each.cls, each.name) == (cls, name)), None)

    def actors(
        self,
        cls: Any = None,
        *,
        prefix: str = "",
        limit: int | None = None,
        after: ActorRef[Any] | None = None,
    ) -> list[ActorRef[Any]]:
        return [each.ref for each in list(self.live.values()) if cls in (None, each.cls)]

    def post(
        self, letters: list[tuple[bytes, bytes]], *, timeout: float | None = None, soon: bool = False
    ) -> Future[None]:
        done: Future[None] = Future()
        for id, data in letters:
            letter = Letter.unpack(data)
            self.letters.append((id, letter))
            if id not in self.live:
                done.set_exception(self.gone(id))
                return done
            if letter.flags & KEPT:
                if letter.id in self.kept:
                    continue
                self.kept[letter.id] = Future()
            self.live[id].inbox.put((letter, None))
        done.set_result(None)
        return done

    def ask(
        self, id: bytes, data: bytes, *, timeout: float | None = None, soon: bool = False
    ) -> Future[bytes]:
        letter = Letter.unpack(data)
        self.letters.append((id, letter))
        if letter.flags & KEPT and letter.id in self.kept:
            return self.kept[letter.id]
        if letter.id in self.pending:
            return self.pending[letter.id]
        reply: Future[bytes] = Future()
        self.pending[letter.id] = reply
        if letter.flags & KEPT:
            self.kept[letter.id] = reply
        if id in self.live:
            self.live[id].inbox.put((letter, reply))
        else:
            reply.set_exception(self.gone(id))
        return reply

    def actor_status(self, id: bytes) -> TaskRecord:
        found = self.live.get(id) or self.dead.get(id)
        if found is None:
            raise TaskNotFound("no such actor")
        state = State.RUNNING if id in self.live else State.COMPLETED
        return TaskRecord(id_text(id), id_text(id), found.ref.class_name, state, 1, 0, 0.0)

    def status(self, id: str) -> TaskRecord:
        return self.actor_status(id_bytes(id))

    def gone(self, id: bytes) -> ActorDeadError:
        found = self.dead.get(id)
        return ActorDeadError(f"{found.ref if found else id_text(id)} not found", id_text(id))

    def close(self) -> None:
        for each in list(self.live.values()):
            with suppress(ActorDeadError):
                each.ref.stop(timeout=PATIENCE)
        for each in self.dead.values():
            each.thread.join(PATIENCE)


@contextmanager
def fake_port() -> Iterator[FakePort]:
    """The ambient runtime is a FakePort."""
    port = FakePort()
    current_runtime.enter(port)  # type: ignore[arg-type]  # references need no more of a runtime
    try:
        yield port
    finally:
        port.close()
        current_runtime.leave(port)  # type: ignore[arg-type]


class LiveActor:
    """One actor with its thread. It is the turn and the side of its actor, too."""

    actor_stopped: Any
    message_id = ""
    storage: Any = None

    def __init__(self, port: FakePort, cls: type[Actor], name: str | None, args: Any, kwargs: Any) -> None:
        self.port, self.cls, self.name = port, cls, name
        self.id = new_id()
        self.task = task_of(cls)
        self.ref: ActorRef[Any] = ActorRef(self.id, self.task.name, name, port)  # type: ignore[arg-type]
        self.inbox: SimpleQueue[tuple[Letter, Future[bytes] | None]] = SimpleQueue()
        self.actor_stopped = threading.Event()
        self.assignment = self
        self.stream = new_id()
        self.posts: list[tuple[bytes, bytes]] = []
        self.commits = 0
        self.asked: dict[bytes, int] = {}
        self.beside: bytes | None = None
        self.seen: list[bytes] = []
        self.stopping = False
        self.letter: Letter | None = None
        self.args, self.kwargs = values.unpack(values.pack([args, kwargs]))
        self.thread = threading.Thread(target=copy_context().run, args=[self.run], daemon=True)

    @property
    def host(self) -> LiveActor:
        return self

    def runtime(self) -> Any:
        return self.port

    def run(self) -> None:
        current_actor.current.set(self)  # type: ignore[arg-type]
        actor = self.cls.__new__(self.cls)
        actor._understudy = self  # type: ignore[assignment]
        actor.__init__(*self.args, **self.kwargs)  # type: ignore[misc]
        actor.on_start()
        while not self.stopping:
            letter, reply = self.inbox.get()
            self.letter, self.asked = letter, {}
            try:
                answer = pack_value(values.pack(self.handle(actor, letter)))
                self.port.post(self.posts)
            except Exception as error:  # noqa: BLE001
                answer = pack_error((*describe(error), details_of(error)))
                if reply is None:
                    actor.on_failure(*sys.exc_info())
                    self.stopping = True
            self.posts = []
            if letter.kind == Kind.STOP or self.stopping:
                self.actor_stopped.set()
                self.port.dead[self.id] = self.port.live.pop(self.id)
            if reply is not None:
                self.port.pending.pop(letter.id, None)
                if reply.set_running_or_notify_cancel():
                    reply.set_result(answer)
        while not self.inbox.empty():
            _, reply = self.inbox.get()
            if reply is not None:
                reply.set_exception(self.port.gone(self.id))

    def handle(self, actor: Actor, letter: Letter) -> Any:
        if letter.kind == Kind.STOP:
            self.stopping = True
            return actor.on_stop()
        payload = None if letter.payload is None else values.unpack(letter.payload)
        match letter.op:
            case Op.MESSAGE:
                return actor.on_receive(payload)
            case Op.GET:
                return attribute_at(actor, letter.path or "")
            case Op.SET:
                return set_attribute_at(actor, letter.path or "", payload)
            case Op.CALL:
                args, kwargs = payload or ((), {})
                return attribute_at(actor, letter.path or "")(*args, **kwargs)

    # --- the turn ---

    def wait_future(self, future: Future[Any], timeout: float | None) -> bool:
        with suppress(TimeoutError):
            Future.exception(future, timeout)
        return future.done()

    def post(self, target: bytes, data: bytes, is_letter: bool) -> None:
        assert is_letter
        self.posts.append((target, data))

    def next_ask_id(self, what: bytes) -> bytes:
        assert self.letter is not None
        self.asked[what] = self.asked.get(what, -1) + 1
        return asked_id(self.letter.id, what, self.asked[what])

    def commit_earlier(self) -> None:
        self.commits += 1

    def answered(self, letter_id: bytes) -> None:
        self.seen.append(letter_id)

    # --- the side ---

    def stop(self) -> None:
        self.inbox.put((Letter(Kind.STOP, 0, new_id(), None), None))


def waits(letter: Letter) -> bool:
    """Whether its sender waits for the answer."""
    return bool(letter.flags & WAITS)

"""ActorCalls: the calls of a runtime about actors. Those that wait for the supervisor are steps; see `steps.py`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from ...actors.checks import check_whole
from ...actors.clock import TimedFuture, clock_of
from ...actors.errors import (
    ActorDeadError,
    InvalidOption,
    InvalidTask,
    TaskNotFound,
)
from ...actors.ids import id_bytes, id_text
from ...actors.refs.actor import Actor, checked_actor_name, task_of
from ...actors.refs.async_ref import AsyncActorRef
from ...actors.refs.port import ActorPort
from ...actors.refs.ref import ActorRef
from ...actors.task.declaration import Task, declared_as
from ...actors.task.handles import IdLike, id_of
from ...storage.actor_reader import ActorName
from ...storage.reader import Reader
from ..wire.codec import parts
from ..wire.messages import Ask
from .answer_wait import AnswerWait
from .deadline import Deadline
from .letter_wait import AddressedLetter, LettersWait, LetterWait
from .reconnecting import ReconnectingClient
from .start_rows import StartRows
from .steps import Steps, is_done_in_task
from .views import DeadLetter, dead_letter

ActorLike = ActorRef[Any] | AsyncActorRef[Any] | IdLike
"""What names an actor in a call: a reference, an id, or "Class/name"."""
ClassLike = type[Actor] | str
"""An actor class, by itself or by its name."""


class ActorCalls:
    """The calls of one `ReconnectingClient` about actors. Thread-safe.

    It does not refer to the `Runtime`, as `Calls` does not.
    """

    def __init__(
        self, client: ReconnectingClient, reader: Reader, starts: StartRows, call_timeout: float | None
    ) -> None:
        """`call_timeout` is the timeout of the references that are made here."""
        self._client = client
        self._reader = reader
        self._starts = starts
        self._call_timeout = call_timeout

    # --- get or start ---

    def actor(
        self,
        port: ActorPort,
        deadline: Deadline,
        cls: ClassLike,
        name: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Steps[ActorRef[Any]]:
        """See `Runtime.actor`."""
        task = _class_named(cls) if isinstance(cls, str) else task_of(cls)
        if name is not None:
            checked_actor_name(name)
        make_row = yield from self._starts.rows_of_actor(task, deadline)
        id, class_name, packed, changes, _, _, stream, origin = make_row(args, kwargs)
        row = id, class_name, name, packed, changes, stream, origin
        there, _ = yield from self._client.ask(deadline, Ask.ACTOR, row)
        return self._ref(port, there, class_name, name)

    def redrive(self, port: ActorPort, deadline: Deadline, actor: ActorLike, id: str | None) -> Steps[int]:
        """See `Runtime.redrive`."""
        key = self.find(port, actor).id_bytes
        dead = None if id is None else id_bytes(id)
        return int((yield from self._client.ask(deadline, Ask.REDRIVE, key, dead)))

    # --- reading, directly from disk without the supervisor ---

    @property
    def _store(self) -> Reader:
        self._client.check_open()
        return self._reader

    def find(self, port: ActorPort, actor: ActorLike) -> ActorRef[Any]:
        """The actor that is named in a call.

        Raises ActorDeadError if none is alive under the name, TaskNotFound for an unknown id, and InvalidOption if
        several classes have the short name.
        """
        if isinstance(actor, ActorRef):
            return actor
        if isinstance(actor, AsyncActorRef):
            return actor.sync
        if isinstance(actor, str) and "/" in actor:
            return self._at(port, actor)
        key = id_of(actor)
        record = self._store.record(key)
        if record is None:
            raise TaskNotFound(f"no actor has the id {id_text(key)}", id_text(key))
        if record.actor is None:
            raise InvalidOption(f"task {id_text(key)} ({record.name}) is no actor")
        return self._ref(port, key, record.name, record.actor or None)

    def _at(self, port: ActorPort, address: str) -> ActorRef[Any]:
        class_name, _, name = address.partition("/")
        checked_actor_name(name)
        found = [(full, id) for full in self._classes(class_name) if (id := self._store.actor_id(full, name))]
        if len(found) > 1:
            raise InvalidOption(
                f"{address!r} may be any of {', '.join(f'{full}/{name}' for full, _ in found)}: give the full name"
            )
        if not found:
            raise ActorDeadError(f"no actor is alive under the name {address!r}; Runtime.actor starts one")
        full, id = found[0]
        return self._ref(port, id, full, name)

    def _classes(self, cls: ClassLike) -> list[str]:
        """The full names that a class has, or that a short name may stand for."""
        if not isinstance(cls, str):
            task = task_of(cls)
            return [task.name, *task.aliases]
        declared = declared_as(cls)
        if declared is not None:
            return [declared.name, *declared.aliases]
        if ":" in cls:
            return [cls]
        return [full for full in self._store.actor_classes() if full == cls or full.partition(":")[2] == cls]

    def lookup(self, port: ActorPort, cls: ClassLike, name: str) -> ActorRef[Any] | None:
        """See `Runtime.lookup`."""
        checked_actor_name(name)
        if isinstance(cls, str):
            try:
                return self._at(port, f"{cls}/{name}")
            except ActorDeadError:
                return None
        for full in self._classes(cls):
            if (id := self._store.actor_id(full, name)) is not None:
                return self._ref(port, id, full, name)
        return None

    def actors(
        self,
        port: ActorPort,
        cls: ClassLike | None,
        prefix: str,
        limit: int | None,
        after: ActorLike | None,
    ) -> list[ActorRef[Any]]:
        """See `Runtime.actors`."""
        if limit is not None:
            check_whole("limit", limit, 0)
        classes = None if cls is None else self._classes(cls)
        last = None
        if after is not None:
            ref = self.find(port, after)
            last = ActorName(ref.id_bytes, ref.class_name, ref.name)
            if prefix and ref.name is None:
                raise InvalidOption("with a prefix, after must be an actor that has a name")
        rows = self._store.actors(classes, prefix=prefix, limit=limit, after=last)
        return [self._ref(port, *row) for row in rows]

    def dead_letters(self, port: ActorPort, actor: ActorLike) -> list[DeadLetter]:
        """See `Runtime.dead_letters`."""
        found = self._store.dead_letters(self.find(port, actor).id_bytes)
        return [dead_letter(id, row) for id, row in found]

    def _ref(self, port: ActorPort, id: bytes, class_name: str, name: str | None) -> ActorRef[Any]:
        ref: ActorRef[Any] = ActorRef(id, class_name, name, port)
        return ref if self._call_timeout is None else ref.options(timeout=self._call_timeout)

    # --- letters ---

    def post(
        self, letters: Sequence[AddressedLetter], deadline: Deadline, keep: object, *, soon: bool = False
    ) -> Future[Any]:
        """See `Runtime.post`. The future refers to `keep` until it is done."""
        if len(letters) == 1:
            return self._post(letters, deadline, keep, soon=soon)
        sent = [self._post(part, deadline, keep) for part in parts(letters, _size)]
        return sent[0] if len(sent) == 1 else _All(sent)

    def _post(
        self, letters: Sequence[AddressedLetter], deadline: Deadline, keep: object, *, soon: bool = False
    ) -> AnswerWait:
        self._make_room()
        wait: AnswerWait
        if soon and len(letters) == 1:
            wait = LetterWait(self._client, *letters[0], keep=keep, soon=True)
        else:
            wait = LettersWait(self._client, letters, keep=keep)
        self._client.begin(wait, deadline)
        return wait

    def ask(
        self, id: bytes, letter: bytes, deadline: Deadline, keep: object, *, soon: bool = False
    ) -> Future[Any]:
        """See `Runtime.ask`. The future refers to `keep` until it is done."""
        self._make_room()
        wait = LetterWait(self._client, id, letter, keep=keep, soon=soon)
        self._client.begin(wait, deadline)
        return wait

    def _make_room(self) -> None:
        """Wait until the socket takes more, where waiting is allowed: not on an event loop."""
        connection = self._client.connection
        if connection is not None and connection.is_full and asyncio._get_running_loop() is None:
            is_done_in_task(connection.room(), None)


class _All(TimedFuture[Any]):
    """Done when all of these are, with the first error that comes."""

    def __init__(self, futures: Sequence[Future[Any]]) -> None:
        super().__init__(clock_of(futures[0]))
        self._futures = futures
        self._left = len(futures)
        self._counting = threading.Lock()
        for future in futures:
            future.add_done_callback(self._one_is_done)

    def cancel(self) -> bool:
        """Wait no longer."""
        if not super().cancel():
            return False
        for future in self._futures:
            future.cancel()
        return True

    def _one_is_done(self, future: Future[Any]) -> None:
        with self._counting:
            self._left -= 1
            over = self._left == 0
        error = None if future.cancelled() else future.exception()
        with suppress(InvalidStateError):  # Another error came first, or it was cancelled.
            if error is not None:
                self.set_exception(error)
            elif over:
                self.set_result(None)


def _class_named(name: str) -> Task[..., Any]:
    task = Task.named(name)
    if task.body is not None and not task.is_class:
        raise InvalidTask(f"{name} is a function: start it with Runtime.start")
    return task


def _size(letter: AddressedLetter) -> int:
    return len(letter[1]) + 50

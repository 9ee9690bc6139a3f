"""The requests of clients that concern class actors: start, tell, ask, redrive."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ...actors.errors import (
    ActorDeadError,
    Deadlock,
    InvalidOption,
    InvalidValue,
    UnderstudyError,
)
from ...actors.ids import id_text, is_task_id
from ...actors.refs.letter import (
    READ_ONLY,
    WAITS,
    Kind,
    Letter,
    Op,
    kind_of,
)
from ...actors.state import State
from ...storage.tables.actor_rows import dead_range, reply_key, unpack_dead, unpack_reply
from ...storage.tables.record import Record
from ...storage.tables.schema import Table
from ..execution.turns import Turns
from ..tasks.commit_loop import CommitLoop
from ..tasks.live_actor import LiveActor
from ..tasks.task_table import TaskTable
from ..wire.checks import checked_id, is_id
from .admission import Admission
from .asks import Asks
from .client_link import ClientLink

#: Dead letters that one request sends again.
REDRIVEN = 10_000


class ActorRequests:
    """Answers them. Errors are raised; the service refuses the request with them."""

    def __init__(self, commits: CommitLoop, table: TaskTable, turns: Turns, admission: Admission) -> None:
        self._commits = commits
        self._table = table
        self._turns = turns
        self._letters = turns.letters
        self._admission = admission
        self.asks = asks = Asks(turns.waits)
        turns.letters.on_answer = asks.answer

    # --- starting ---

    def start(self, row: Any) -> tuple[bytes, bool]:
        """Get the actor of a class and name, or start it: its id, and whether it is new."""
        id, class_name, name, args, options, stream, origin = row
        if not is_task_id(id) or not is_id(stream) or not (origin is None or is_id(origin)):
            raise InvalidValue("an actor's ids must be UUIDs of version 7")
        declared = self._table.declared
        class_name = declared.present(class_name)
        self._admission.check_declared(class_name)
        if class_name not in declared.actors:
            raise InvalidOption(f"{class_name} is a task, not a class of actors: start it with `start`")
        there = None if name is None else self._letters.of_name(class_name, name)
        if there is None and self._table.record(id) is not None:
            there = id  # The client asks again, because the first answer was lost.
        if there is not None:
            return there, False
        self._admission.check_values([] if args is None else [args], "the argument list")
        self._admission.check_options(class_name, options)
        # As one object: an actor may be in memory for long.
        shared, stream = sys.intern(class_name), id if stream == id else stream
        record = Record(id, shared, self._commits.clock.time(), stream, origin, options)
        record.actor = name or ""
        record.state = State.IDLE
        self._admission.note(id)
        self._turns.start(record, args)
        return id, True

    # --- letters ---

    def tell(self, rows: Any) -> None:
        """Put letters into mailboxes: all of them, or none and an error."""
        by_actor: dict[bytes, list[bytes]] = {}
        self._admission.check_values([letter for _, letter in rows], "a message")
        for id, letter in rows:
            Letter.unpack(letter)
            by_actor.setdefault(checked_id(id), []).append(letter)
        checked: list[tuple[LiveActor, list[bytes]]] = []
        for id, letters in by_actor.items():
            new = [letter for letter in letters if not self._was_taken(letter)]
            if not new:
                continue  # Its actor may have handled it, and have stopped since.
            actor = self._live(id)
            self._letters.check_room(actor, new)
            checked.append((actor, new))
        for actor, letters in checked:
            for letter in letters:
                self._letters.take_in(actor, letter)

    def _was_taken(self, letter: bytes) -> bool:
        """Whether a letter with a key of its sender was taken in before."""
        if kind_of(letter) not in (Kind.TELL, Kind.REMINDER):
            raise InvalidValue(f"a letter of kind {kind_of(letter)} is no tell")
        return self._letters.was_taken(letter)

    def take(self, client: ClientLink, rows: Any, seen: Any) -> list[int]:
        """Take in letters that come for the first time, each by itself. The requests of those that were told."""
        if not all(map(is_id, seen)) or not all(type(row[0]) is int for row in rows):
            raise ValueError("not letters")
        self._letters.forget_answers(seen)
        self._table.load_actors(id for _, id, _ in rows if is_id(id))
        told: list[int] = []
        for request, id, letter in rows:
            try:
                if type(letter) is bytes and kind_of(letter) == Kind.TELL:
                    self.tell([(id, letter)])
                    told.append(request)
                else:
                    self.ask(client, request, id, letter, (), fresh=True)
            except UnderstudyError as error:
                client.refuse(request, error)
        return told

    def ask(
        self, client: ClientLink, request: int, id: Any, letter: Any, seen: Any, *, fresh: bool = False
    ) -> None:
        """Put an ask into a mailbox, unless it is there or has been answered; its answer goes to the client.

        `fresh`: no answer to it can be there.
        """
        self._admission.check_values([letter], "a message")
        opened = Letter.unpack(letter)
        letter_id = opened.id
        if opened.kind not in (Kind.ASK, Kind.STOP) or not all(map(is_id, seen)):
            raise InvalidValue("not an ask")
        if seen:
            self._letters.forget_answers(seen)
        actor = self._letters.find(checked_id(id))
        if letter_id in self.asks:
            # It comes again: from another connection, or because its actor waits for the answer from now on.
            method = None if actor is None else self._check_circle(actor, opened)
            self._wait(client, request, actor, opened, method)
            return
        there = None if fresh or not (actor is None or actor.durable) else self._kept(letter_id)
        kept = None if there is None else unpack_reply(there)
        # A rerun of a method may ask another actor than before, under the same id.
        if kept is not None and kept.actor == id:
            reply = kept.reply
            if reply is None:
                raise InvalidOption("this key was used for a tell, which has no answer")
            self._answer_once_written(client, request, letter_id, reply)
            return
        if actor is None:
            raise self._dead(id)
        if opened.path in actor.rules.read_only and opened.op is Op.CALL and not opened.flags & READ_ONLY:
            # Its sender does not have the class.
            opened = opened._replace(flags=opened.flags | READ_ONLY)
            letter = opened.pack()
        method = self._check_circle(actor, opened)
        if actor.box.known is not None and letter_id in actor.box.known:
            self._wait(client, request, actor, opened, method)
            return
        if self._letters.needs_room(actor, letter):
            self._letters.check_room(actor, [letter])
        self._wait(client, request, actor, opened, method)
        self._letters.deliver(actor, letter)

    def _answer_once_written(self, client: ClientLink, request: int, letter_id: bytes, reply: bytes) -> None:
        """Give a stored reply to one who asks again."""
        if not self._commits.store.pending(Table.ACTORS, reply_key(letter_id)):
            client.answer(request, reply)
            return

        def answer() -> None:
            client.answer(request, reply)
            client.flush()

        self._commits.after_commit(answer)

    def forget(self, client: ClientLink, request: int) -> None:
        """A client waits for an answer no longer. The message stays in the mailbox."""
        self.asks.forget(client, request)

    def gone(self, client: ClientLink) -> None:
        """A client has disconnected."""
        for request in list(client.asks):
            self.asks.forget(client, request)

    def worker_of(self, id: bytes) -> int | None:
        """The pid of the worker that has this actor in memory, at rest or at work; None if none has."""
        actor = self._table.tasks.get(id)
        return actor.seat.channel.pid if isinstance(actor, LiveActor) and actor.seat is not None else None

    def _live(self, id: bytes) -> LiveActor:
        actor = self._letters.find(id)
        if actor is None:
            raise self._dead(id)
        return actor

    def _dead(self, id: bytes) -> UnderstudyError:
        state = self._table.known(id).state
        return ActorDeadError(f"actor {id_text(id)} has stopped ({state})", id_text(id))

    def _kept(self, letter_id: bytes) -> bytes | None:
        return self._commits.get(Table.ACTORS, reply_key(letter_id))

    def _check_circle(self, actor: LiveActor, letter: Letter) -> bytes | None:
        """The method that waits for the answer, if one does. Deadlock if the answer would wait for it.

        A read-only letter closes none unless its receiver waits for room: no method that waits keeps it waiting.
        """
        sender = self._table.tasks.get(letter.sender) if letter.flags & WAITS and letter.sender else None
        if not isinstance(sender, LiveActor):
            return None
        method = letter.beside or sender.id
        way = self.asks.waits.way(actor.id, method, reads=bool(letter.flags & READ_ONLY))
        if way is None:
            return method
        names = self._turns.labels([sender.id, *way])
        raise Deadlock(
            f"each of these actors would wait for the next one for ever: {' -> '.join(names)}", names
        )

    def _wait(
        self, client: ClientLink, request: int, actor: LiveActor | None, letter: Letter, method: bytes | None
    ) -> None:
        """A client waits for an answer, and with it perhaps a method."""
        self.asks.wait(client, request, letter.id)
        if method is not None and actor is not None:
            read_only = bool(letter.flags & READ_ONLY)
            self.asks.waits.begin(method, letter.id, actor.id, read_only=read_only)

    # --- dead letters ---

    def redrive(self, id: Any, dead_id: Any) -> int:
        """Send dead letters of an actor again: this one, or all; how many."""
        actor = self._live(checked_id(id))
        rows: Sequence[tuple[bytes, bytes]] = self._commits.store.look(
            Table.ACTORS, *dead_range(id, dead_id), limit=REDRIVEN
        )
        self._letters.redrive(actor, [(key, unpack_dead(row)[1]) for key, row in rows])
        return len(rows)
